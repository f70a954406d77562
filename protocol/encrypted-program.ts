import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { utf8 } from './base/bytes.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'

/**
 * Where the bytes of a program are that nobody but its providers can read, and what opens them. It stands in a sealed spec;
 * the spec's `program` stays the CID of the plain zip, which is what the owner signed and the programId is made of.
 */
export const encryptedProgramSchema = z.strictObject({
  /** Of the encrypted bytes, as keepers have them. */
  cid: z
    .string()
    .min(1)
    .max(limits.cidBytesMax)
    .regex(/^[a-z0-9]+$/, 'Expected a CID in lower-case base32'),
  /** 32 bytes as base64url. */
  key: z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'Expected 32 bytes as base64url'),
})
export type EncryptedProgram = z.output<typeof encryptedProgramSchema>

const algorithm = 'aes-256-gcm'
const ivBytes = 12
const tagBytes = 16

/** What encryption adds to a zip. */
export const encryptionOverheadBytes = ivBytes + tagBytes

/**
 * Encrypts a zip with AES-256-GCM: 12 bytes IV, ciphertext, 16 bytes tag. The plain CID is authenticated with it, so that no
 * other program can be put in its place.
 *
 * @param program - The plain zip's CID.
 * @param key - 32 bytes.
 */
export function encryptProgram(
  zip: Uint8Array,
  { program, key }: { readonly program: string; readonly key: Uint8Array },
): Uint8Array {
  const iv = randomBytes(ivBytes)
  const cipher = createCipheriv(algorithm, key, iv).setAAD(utf8.encode(program))
  return Buffer.concat([iv, cipher.update(zip), cipher.final(), cipher.getAuthTag()])
}

/**
 * Decrypts a zip. Whoever has the key can make bytes that open: compare the plain bytes with the program's CID.
 *
 * @throws ProtocolError `seal_broken`
 */
export function decryptProgram(
  bytes: Uint8Array,
  { program, key }: { readonly program: string; readonly key: Uint8Array },
): Uint8Array {
  try {
    const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, ivBytes))
    decipher.setAAD(utf8.encode(program)).setAuthTag(bytes.subarray(-tagBytes))
    const ciphertext = bytes.subarray(ivBytes, -tagBytes)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  } catch (cause) {
    throw new ProtocolError('seal_broken', 'The encrypted program does not open with its key.', {
      hint: 'Deploy the program again.',
      cause,
    })
  }
}
