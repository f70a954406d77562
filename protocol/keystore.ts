import {
  createCipheriv,
  createDecipheriv,
  pbkdf2,
  randomBytes,
  randomUUID,
  type ScryptOptions,
  scrypt,
  timingSafeEqual,
} from 'node:crypto'
import { promisify } from 'node:util'
import { type Address, getAddress, type Hex, keccak256 } from 'viem'
import { privateKeyToAddress } from 'viem/accounts'
import { z } from 'zod'
import { parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { describeIssues } from './schema.ts'

const hexOf = (bytesMax: number) =>
  z
    .string()
    .regex(/^(0x)?([0-9a-fA-F]{2})+$/)
    .max(bytesMax * 2 + 2)
    .transform((text) => Buffer.from(text.replace(/^0x/, ''), 'hex'))

/** What guessing a password costs. Bounded, as a hostile file could else take all memory. */
const scryptParamsSchema = z.object({
  dklen: z.literal(32),
  n: z
    .int()
    .min(2)
    .max(2 ** 20),
  p: z.int().min(1).max(16),
  r: z.int().min(1).max(32),
  salt: hexOf(64),
})
const pbkdf2ParamsSchema = z.object({
  dklen: z.literal(32),
  c: z.int().min(1).max(10_000_000),
  prf: z.literal('hmac-sha256'),
  salt: hexOf(64),
})

const keystoreSchema = z.object({
  version: z.literal(3),
  address: z
    .string()
    .regex(/^(0x)?[0-9a-fA-F]{40}$/)
    .optional(),
  crypto: z.intersection(
    z.object({
      cipher: z.literal('aes-128-ctr'),
      cipherparams: z.object({ iv: hexOf(16) }),
      ciphertext: hexOf(32),
      mac: hexOf(32),
    }),
    z.discriminatedUnion('kdf', [
      z.object({ kdf: z.literal('scrypt'), kdfparams: scryptParamsSchema }),
      z.object({ kdf: z.literal('pbkdf2'), kdfparams: pbkdf2ParamsSchema }),
    ]),
  ),
})

/** An encrypted key: Web3 Secret Storage version 3, as geth and foundry read and write it. */
export type Keystore = z.output<typeof keystoreSchema>

/** Geth's standard cost: 256 MiB and most of a second for each guess of a password. */
export const scryptCostStandard = 2 ** 18
/** Geth's light cost, for keys that are worth nothing. */
export const scryptCostLight = 2 ** 12

/**
 * Encrypts a private key.
 *
 * @param scryptCost - A power of two.
 * @returns the text of the file
 */
export async function encryptKeystore(
  privateKey: Hex,
  password: string,
  { scryptCost = scryptCostStandard }: { scryptCost?: number } = {},
): Promise<string> {
  const salt = randomBytes(32)
  const iv = randomBytes(16)
  const kdfparams = { dklen: 32 as const, n: scryptCost, p: 1, r: 8, salt }
  const derived = await deriveScrypt(password, kdfparams)
  const cipher = createCipheriv('aes-128-ctr', derived.subarray(0, 16), iv)
  const ciphertext = Buffer.concat([cipher.update(Buffer.from(privateKey.slice(2), 'hex')), cipher.final()])
  const file = {
    version: 3,
    id: randomUUID(),
    address: privateKeyToAddress(privateKey).slice(2).toLowerCase(),
    crypto: {
      cipher: 'aes-128-ctr',
      cipherparams: { iv: iv.toString('hex') },
      ciphertext: ciphertext.toString('hex'),
      kdf: 'scrypt',
      kdfparams: { ...kdfparams, salt: salt.toString('hex') },
      mac: macOf(derived, ciphertext).toString('hex'),
    },
  }
  return `${JSON.stringify(file, undefined, 2)}\n`
}

/**
 * Decrypts a private key.
 *
 * @throws ProtocolError `keystore_locked` for a wrong password
 */
export async function decryptKeystore({ crypto }: Keystore, password: string): Promise<Hex> {
  const derived =
    crypto.kdf === 'scrypt'
      ? await deriveScrypt(password, crypto.kdfparams)
      : await promisify(pbkdf2)(password, crypto.kdfparams.salt, crypto.kdfparams.c, 32, 'sha256')
  const mac = macOf(derived, crypto.ciphertext)
  if (mac.byteLength !== crypto.mac.byteLength || !timingSafeEqual(mac, crypto.mac)) {
    throw new ProtocolError('keystore_locked', 'The password does not open the keystore.', {
      hint: 'Check the password; the file is unharmed.',
    })
  }
  const decipher = createDecipheriv('aes-128-ctr', derived.subarray(0, 16), crypto.cipherparams.iv)
  const key = Buffer.concat([decipher.update(crypto.ciphertext), decipher.final()])
  return `0x${key.toString('hex')}`
}

/** Reads a keystore file. @throws ProtocolError `config_invalid` */
export function parseKeystore(bytes: Uint8Array): Keystore {
  const tooLarge = bytes.byteLength > limits.keystoreFileBytesMax
  const parsed = tooLarge ? undefined : keystoreSchema.safeParse(withLowerCaseKeys(parseJson(bytes)))
  if (parsed?.success) return parsed.data
  const why = parsed ? describeIssues(parsed.error) : `it has more than ${limits.keystoreFileBytesMax} bytes`
  throw new ProtocolError('config_invalid', `The file is not a keystore: ${why}`, {
    hint: 'Expected Web3 Secret Storage version 3 with aes-128-ctr, as geth, foundry and "khachapuri key new" write it.',
  })
}

/** The account that the file says it holds; only decrypting proves it. Some tools leave it out. */
export function addressOfKeystore({ address }: Keystore): Address | undefined {
  return address === undefined ? undefined : getAddress(`0x${address.replace(/^0x/, '')}`)
}

/** The second half of the derived key vouches for the ciphertext. */
function macOf(derived: Buffer, ciphertext: Buffer): Buffer {
  return Buffer.from(keccak256(Buffer.concat([derived.subarray(16, 32), ciphertext]), 'bytes'))
}

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** @throws ProtocolError `config_invalid` where OpenSSL cannot: it holds to RFC 7914, N < 2^(16 · r) and a power of two. */
async function deriveScrypt(
  password: string,
  { n, r, p, salt }: { n: number; r: number; p: number; salt: Buffer },
): Promise<Buffer> {
  // Scrypt takes 128 · N · r bytes; Node wants to be told that this is meant.
  const options = { N: n, r, p, maxmem: 128 * n * r + 128 * r * p + 2 ** 20 }
  try {
    return await scryptAsync(password, salt, 32, options)
  } catch (cause) {
    throw new ProtocolError('config_invalid', 'The scrypt parameters of the keystore cannot be used.', {
      hint: 'N must be a power of two, and the memory that N · r asks for must be there.',
      cause,
    })
  }
}

/** Old files spell `Crypto`, `KDF` and the like in either case. */
function withLowerCaseKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, v]) => [key.toLowerCase(), withLowerCaseKeys(v)]),
  )
}
