import type { Hex } from 'viem'
import { base64url, toHex } from './base/bytes.ts'
import { encodeCanonicalJson, type Json, parseJson } from './canonical-json.ts'

/**
 * Something that was signed, as one word for a header: `<prefix>.<payload>.<signature>`, both in Base64url. The payload is
 * canonical JSON (RFC 8785); readers compare what they read with how it is written, so that each has one form.
 */
export function formatSignedToken(prefix: string, fields: object, signature: Hex): string {
  const payload = JSON.parse(
    JSON.stringify(fields, (_key, value) => (typeof value === 'bigint' ? value.toString() : value)),
  ) as Json
  return [
    prefix,
    base64url.encode(encodeCanonicalJson(payload)),
    base64url.encode(Buffer.from(signature.slice(2), 'hex')),
  ].join('.')
}

/**
 * Takes such a word apart.
 *
 * @returns undefined for anything else, for a signature of the form that anybody can make of another one, and for more
 * than `bytesMax`
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
  if (!isCanonicalSignature(signatureBytes)) return undefined
  return { payload: parseJson(payloadBytes), signature: toHex(signatureBytes) }
}

/** Half the order of secp256k1: each signature has one accepted form (EIP-2). */
const sMax = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n

export function isCanonicalSignature(signature: Uint8Array): boolean {
  if (signature.byteLength !== 65 || (signature[64] !== 27 && signature[64] !== 28)) return false
  return BigInt(toHex(signature.subarray(32, 64))) <= sMax
}
