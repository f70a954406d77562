import type { Address, Hex } from 'viem'
import { keccak256, keccak256Hex, utf8 } from './base/bytes.ts'
import { type Outcome, outcomes } from './call.ts'
import { typedDataTypes } from './typed-data.ts'
import type { Usdc } from './usdc.ts'

/** The provider's statement of what was called, what was answered and what it cost. */
export interface Receipt {
  readonly callId: Hex
  readonly programId: Hex
  /** SHA-256 in the deployment's CID. */
  readonly deployment: Hex
  readonly payer: Address
  readonly provider: Address
  readonly requestDigest: Hex
  /** SHA-256 of the response body. */
  readonly responseDigest: Hex
  readonly status: number
  readonly outcome: Outcome
  readonly priceUsdc: Usdc
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly durationMs: number
}

/**
 * The EIP-712 struct hash (without a domain: the root that is signed has one). Written out because a settlement hashes
 * every call since the last one and viem takes fifty times as long; a property test keeps them equal.
 */
export function hashReceipt(receipt: Receipt): Hex {
  const words = Buffer.alloc(13 * wordBytes)
  words.set(receiptTypeHash)
  const writeHex = (index: number, hex: Hex) =>
    words.write(hex.slice(2), (index + 1) * wordBytes - (hex.length - 2) / 2, 'hex')
  const writeNumber = (index: number, value: bigint) =>
    words.writeBigUInt64BE(value, (index + 1) * wordBytes - 8)
  writeHex(1, receipt.callId)
  writeHex(2, receipt.programId)
  writeHex(3, receipt.deployment)
  writeHex(4, receipt.payer)
  writeHex(5, receipt.provider)
  writeHex(6, receipt.requestDigest)
  writeHex(7, receipt.responseDigest)
  writeNumber(8, BigInt(receipt.status))
  writeNumber(9, BigInt(outcomes[receipt.outcome]))
  writeNumber(10, receipt.priceUsdc)
  writeNumber(11, BigInt(receipt.startedAt))
  writeNumber(12, BigInt(receipt.durationMs))
  return keccak256Hex(words)
}

const wordBytes = 32
const receiptTypeHash = keccak256(
  utf8.encode(`Receipt(${typedDataTypes.Receipt.map(({ type, name }) => `${type} ${name}`).join(',')})`),
)

/** A leaf of a usage tree: hashed once more than an inner node, so that neither can stand for the other. */
export function receiptLeaf(receipt: Receipt): Hex {
  return keccak256Hex(Buffer.from(hashReceipt(receipt).slice(2), 'hex'))
}

/** JSON for people and files: amounts as decimal strings. */
export function receiptToJson(receipt: Receipt): Record<string, unknown> {
  const { priceUsdc, ...rest } = receipt
  return { ...rest, price: priceUsdc.toString() }
}
