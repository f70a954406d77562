import type { Hex } from 'viem'
import { keccak256, toHex, utf8 } from './base/bytes.ts'
import { outcomes } from './call.ts'
import type { Receipt } from './receipt.ts'
import type { DelegatedKey } from './receipt-key.ts'
import { type Market, typedDataTypes } from './typed-data.ts'

/**
 * A receipt with all that it takes to check it without asking anybody: the calls that finished together are the leaves of
 * one tree, whose root the provider's receipt key signed, and the account that earns the money vouched for the key.
 */
export interface SignedReceipt {
  readonly market: Market
  readonly receipt: Receipt
  /** The siblings from the receipt's leaf up to the group's root, 32 bytes each. */
  readonly path: readonly Hex[]
  readonly key: DelegatedKey
  /** ECDSA over P-256 with SHA-256 (FIPS 186-5), `r ‖ s` with the lower `s`, 64 bytes. */
  readonly signature: Hex
}

/** A group holds at most 2^16 receipts. */
const pathHashesMax = 16
export const receiptPrefix = 'krc1'

/**
 * What a group's key signs, before SHA-256: the 66 bytes of EIP-712 for `ReceiptGroup(bytes32 root)`. With the market in
 * it, so that a receipt of a test chain is worth nothing elsewhere.
 */
export function receiptGroupMessage(root: Hex, separator: Uint8Array): Uint8Array {
  const struct = Buffer.alloc(64)
  struct.set(groupTypeHash)
  struct.write(root.slice(2), 32, 'hex')
  const message = Buffer.alloc(66)
  message.writeUInt16BE(0x1901)
  message.set(separator, 2)
  message.set(keccak256(struct), 34)
  return message
}

const groupTypeHash = keccak256(
  utf8.encode(
    `ReceiptGroup(${typedDataTypes.ReceiptGroup.map(({ type, name }) => `${type} ${name}`).join(',')})`,
  ),
)

/** Half the order of P-256: of the two signatures that anybody can make of one, this network takes the lower. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** @param signature - `r ‖ s`, 64 bytes, as OpenSSL gives it. */
export function lowerS(signature: Buffer): Buffer {
  const s = BigInt(toHex(signature.subarray(32)))
  if (s <= order / 2n) return signature
  const lowered = Buffer.from(signature)
  lowered.write((order - s).toString(16).padStart(64, '0'), 32, 'hex')
  return lowered
}

/**
 * As one word, for the `Khachapuri-Receipt` header: `krc1.` and Base64url of the fields in their order, numbers
 * big-endian. What is the same in every receipt of a group comes last, so that it is written once for all of them.
 *
 * | bytes | what |
 * | ----- | ---- |
 * | 96 | callId, programId, deployment |
 * | 20 | payer |
 * | 64 | requestDigest, responseDigest |
 * | 2, 1, 8, 8, 4 | status, outcome, price, startedAt, durationMs |
 * | 32 × n | path |
 * | 64 | signature |
 * | 20, 64, 4, 4, 65 | the key: provider, x and y, validAfter, validBefore, delegation |
 * | 8, 20 | chainId, escrow |
 */
export function formatSignedReceipt({ receipt, path, ...shared }: SignedReceipt): string {
  return formatReceipt(receipt, path, sharedBytes(shared))
}

/** What all receipts of a group end in. */
export function sharedBytes({
  signature,
  key,
  market,
}: Pick<SignedReceipt, 'signature' | 'key' | 'market'>): Uint8Array {
  const numbers = Buffer.alloc(8)
  numbers.writeUInt32BE(key.validAfter)
  numbers.writeUInt32BE(key.validBefore, 4)
  const chainId = Buffer.alloc(8)
  chainId.writeBigUInt64BE(BigInt(market.chainId))
  return Buffer.concat([
    hexBytes(signature),
    hexBytes(key.provider),
    hexBytes(key.x),
    hexBytes(key.y),
    numbers,
    hexBytes(key.delegation),
    chainId,
    hexBytes(market.escrow),
  ])
}

export function formatReceipt(receipt: Receipt, path: readonly Hex[], shared: Uint8Array): string {
  const bytes = Buffer.allocUnsafe(receiptBytes + path.length * 32 + shared.byteLength)
  let at = 0
  const put = (hex: Hex) => {
    at += bytes.write(hex.slice(2), at, 'hex')
  }
  put(receipt.callId)
  put(receipt.programId)
  put(receipt.deployment)
  put(receipt.payer)
  put(receipt.requestDigest)
  put(receipt.responseDigest)
  at = bytes.writeUInt16BE(receipt.status, at)
  at = bytes.writeUInt8(outcomes[receipt.outcome], at)
  at = bytes.writeBigUInt64BE(receipt.priceUsdc, at)
  at = bytes.writeBigUInt64BE(BigInt(receipt.startedAt), at)
  at = bytes.writeUInt32BE(receipt.durationMs, at)
  for (const hash of path) put(hash)
  bytes.set(shared, at)
  return `${receiptPrefix}.${bytes.toString('base64url')}`
}

const hexBytes = (hex: Hex) => Buffer.from(hex.slice(2), 'hex')

export const receiptBytes = 5 * 32 + 20 + 2 + 1 + 8 + 8 + 4
export const sharedLength = 64 + 20 + 64 + 8 + 65 + 8 + 20
export const receiptCharsMax = 5 + Math.ceil(((receiptBytes + sharedLength + 32 * pathHashesMax) * 4) / 3)
