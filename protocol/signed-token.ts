import { getAddress, type Hex, isAddress } from 'viem'
import { base64url, toHex } from './base/bytes.ts'
import { encodeCanonicalJson, type Json, parseJson } from './canonical-json.ts'

/**
 * Something that was signed, as one word for a header: `<prefix>.<payload>.<signature>`, both in Base64url. The payload is
 * canonical JSON (RFC 8785); readers compare what they read with how it is written, so that each has one form.
 */
export function formatSignedToken(prefix: string, fields: object, signature: Hex): string {
  const payload = JSON.parse(
    JSON.stringify(fields, (_key, value) =>
      typeof value === 'bigint' ? value.toString() : checksummed(value),
    ),
  ) as Json
  return [
    prefix,
    base64url.encode(encodeCanonicalJson(payload)),
    base64url.encode(Buffer.from(signature.slice(2), 'hex')),
  ].join('.')
}

/** Whoever signs may have an address from anywhere; it is written in one way. */
const checksummed = (value: unknown) =>
  typeof value === 'string' && isAddress(value, { strict: false }) ? getAddress(value) : value

/**
 * Takes such a word apart.
 *
 * @returns undefined for anything else, and for more than `bytesMax`. Whether the signature is one says `findSigner`
 */
export function splitSignedToken(
  prefix: string,
  token: string,
  bytesMax: number,
): { readonly payload: unknown; readonly signature: Hex } | undefined {
  if (token.length > bytesMax) return undefined
  const [kind, payload = '', signature = '', ...rest] = token.split('.')
  const payloadBytes = base64url.decode(payload)
  const signatureBytes = base64url.decode(signature)
  if (kind !== prefix || rest.length > 0 || !payloadBytes || !signatureBytes) return undefined
  return { payload: parseJson(payloadBytes), signature: toHex(signatureBytes) }
}

/** Half the order of secp256k1: each signature has one accepted form (EIP-2). */
const sMax = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n

export function isCanonicalSignature(signature: Uint8Array): boolean {
  if (signature.byteLength !== 65 || (signature[64] !== 27 && signature[64] !== 28)) return false
  return BigInt(toHex(signature.subarray(32, 64))) <= sMax
}
