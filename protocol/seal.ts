import { createPublicKey, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, flattenedDecrypt, GeneralEncrypt } from 'jose'
import { z } from 'zod'
import { utf8 } from './base/bytes.ts'
import { parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'

const keyAlgorithm = 'RSA-OAEP-256'
const contentAlgorithm = 'A256GCM'
const sealType = 'khachapuri-spec+jwe'

const base64urlSchema = z.string().regex(/^[A-Za-z0-9_-]*$/)

const sealedSchema = z.strictObject({
  protected: base64urlSchema.max(1024),
  iv: base64urlSchema.max(32),
  tag: base64urlSchema.max(32),
  ciphertext: base64urlSchema.max(limits.sealedSpecBytesMax),
  recipients: z
    .array(
      z.strictObject({
        header: z.strictObject({ alg: z.literal(keyAlgorithm), kid: base64urlSchema.max(64) }),
        encrypted_key: base64urlSchema.max(1024),
      }),
    )
    .min(1)
    .max(limits.specProvidersMax),
})

/** A JWE in the general JSON serialisation (RFC 7516 section 7.2.1), one recipient per provider. */
export type SealedSpec = z.output<typeof sealedSchema>

/** The half of a provider's RSA key that its Resolver publishes. */
export interface SealKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string
  readonly key: KeyObject
}

/**
 * Reads the key of a Resolver's `pubkey()`: RSA of 2048 to 4096 bits as DER SubjectPublicKeyInfo (RFC 5280).
 *
 * @throws ProtocolError `config_invalid`
 */
export async function parseSealKey(der: Uint8Array): Promise<SealKey> {
  try {
    if (der.byteLength > limits.publicKeyBytesMax) throw new Error('too many bytes')
    const key = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
    if (key.asymmetricKeyType !== 'rsa' || bits < 2048 || bits > 4096)
      throw new Error('not RSA of 2048 to 4096 bits')
    return { kid: await thumbprintOf(key), key }
  } catch (cause) {
    throw new ProtocolError('config_invalid', 'The public key in the Resolver is not a usable RSA key.', {
      hint: 'The provider must publish an RSA key of 2048 to 4096 bits.',
      cause,
    })
  }
}

/** The `kid` of a key, private or public: its RFC 7638 thumbprint. */
export function thumbprintOf(key: KeyObject): Promise<string> {
  const publicKey = key.type === 'private' ? createPublicKey(key as never) : key
  return calculateJwkThumbprint(publicKey.export({ format: 'jwk' }) as never)
}

/** Seals a formatted spec so that each of the keys' holders, and nobody else, can read it. */
export async function sealSpec(spec: Uint8Array, keys: readonly SealKey[]): Promise<Uint8Array> {
  const encrypt = new GeneralEncrypt(spec).setProtectedHeader({ enc: contentAlgorithm, typ: sealType })
  for (const { kid, key } of keys) {
    encrypt.addRecipient(key).setUnprotectedHeader({ alg: keyAlgorithm, kid })
  }
  return utf8.encode(JSON.stringify(await encrypt.encrypt()))
}

/** Reads a sealed spec without opening it. @returns undefined where the bytes are something else. */
export function parseSealed(bytes: Uint8Array): SealedSpec | undefined {
  if (bytes.byteLength > limits.sealedSpecBytesMax) return undefined
  const parsed = sealedSchema.safeParse(parseJson(bytes))
  return parsed.success ? parsed.data : undefined
}

/**
 * Opens a sealed spec with the key that it was sealed for.
 *
 * @param keys - Private keys by `kid`: the current one, and old ones during a rotation.
 * @throws ProtocolError `deployment_not_for_provider`, `seal_broken`
 */
export async function openSeal(
  sealed: SealedSpec,
  keys: ReadonlyMap<string, KeyObject>,
): Promise<Uint8Array> {
  const { recipients, ...shared } = sealed
  const recipient = recipients.find(({ header }) => keys.has(header.kid))
  const key = recipient && keys.get(recipient.header.kid)
  if (!recipient || !key) {
    throw new ProtocolError('deployment_not_for_provider', 'The deployment is sealed for other providers.', {
      hint: 'Call one of its own providers, or deploy it again with --provider naming this one.',
    })
  }
  try {
    const { plaintext } = await flattenedDecrypt({ ...shared, ...recipient }, key, {
      keyManagementAlgorithms: [keyAlgorithm],
      contentEncryptionAlgorithms: [contentAlgorithm],
    })
    return plaintext
  } catch (cause) {
    throw new ProtocolError(
      'seal_broken',
      'The seal of the deployment does not open: some byte of it was changed.',
      {
        hint: 'Deploy the program again.',
        cause,
      },
    )
  }
}
