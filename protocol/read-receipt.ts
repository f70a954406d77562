import { createPublicKey, verify } from 'node:crypto'
import { getAddress, type Hex } from 'viem'
import { base64url, toHex } from './base/bytes.ts'
import { outcomeNames } from './call.ts'
import { merkleRootOf } from './merkle.ts'
import { receiptLeaf } from './receipt.ts'
import {
  lowerS,
  receiptBytes,
  receiptCharsMax,
  receiptGroupMessage,
  receiptPrefix,
  type SignedReceipt,
  sharedLength,
} from './signed-receipt.ts'
import { marketSeparator } from './typed-data.ts'
import { usdc } from './usdc.ts'

/** Takes the word apart; what it says may still be wrong. @returns undefined for anything else. */
export function parseSignedReceipt(token: string): SignedReceipt | undefined {
  if (token.length > receiptCharsMax || !token.startsWith(`${receiptPrefix}.`)) return undefined
  const decoded = base64url.decode(token.slice(receiptPrefix.length + 1))
  const pathBytes = (decoded?.byteLength ?? 0) - receiptBytes - sharedLength
  if (!decoded || pathBytes < 0 || pathBytes % 32 !== 0) return undefined
  const bytes = Buffer.from(decoded.buffer, decoded.byteOffset, decoded.byteLength)
  let at = 0
  const take = (length: number) => {
    at += length
    return bytes.subarray(at - length, at)
  }
  const hex = (length: number) => toHex(take(length))
  const number = (length: number) => Number(BigInt(hex(length)))
  const [callId, programId, deployment] = [hex(32), hex(32), hex(32)]
  const payer = getAddress(hex(20))
  const [requestDigest, responseDigest] = [hex(32), hex(32)]
  const status = number(2)
  const outcome = outcomeNames.get(number(1))
  const priceUsdc = usdc(BigInt(hex(8)))
  const [startedAt, durationMs] = [number(8), number(4)]
  const path = Array.from({ length: pathBytes / 32 }, () => hex(32))
  const signature = hex(64)
  const provider = getAddress(hex(20))
  const [x, y] = [hex(32), hex(32)]
  const [validAfter, validBefore] = [number(4), number(4)]
  const delegation = hex(65)
  const [chainId, escrow] = [number(8), getAddress(hex(20))]
  if (outcome === undefined || !Number.isSafeInteger(startedAt) || !Number.isSafeInteger(chainId))
    return undefined
  return {
    market: { chainId, escrow },
    receipt: {
      callId,
      programId,
      deployment,
      payer,
      provider,
      requestDigest,
      responseDigest,
      status,
      outcome,
      priceUsdc,
      startedAt,
      durationMs,
    },
    path,
    key: { provider, x, y, validAfter, validBefore, delegation },
    signature,
  }
}

/** Whether the key signed the root of the group that the path leads to. Of the key it says nothing. */
export function isSignedByKey({ market, receipt, path, key, signature }: SignedReceipt): boolean {
  const root = merkleRootOf(receiptLeaf(receipt), path)
  return isSignedWith(key, receiptGroupMessage(root, marketSeparator(market)), signature)
}

/** Whether a provider's key signed a message, in the one form that each signature has here. */
export function isSignedWith(
  { x, y }: { readonly x: Hex; readonly y: Hex },
  message: Uint8Array,
  signature: Hex,
): boolean {
  const bytes = Buffer.from(signature.slice(2), 'hex')
  if (bytes.length !== 64 || lowerS(bytes) !== bytes) return false
  const encode = (hex: Hex) => base64url.encode(Buffer.from(hex.slice(2), 'hex'))
  try {
    const jwk = { kty: 'EC', crv: 'P-256', x: encode(x), y: encode(y) }
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
    return verify('sha256', message, { key: publicKey, dsaEncoding: 'ieee-p1363' }, bytes)
  } catch {
    return false // No point of the curve.
  }
}
