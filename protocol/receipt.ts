import { type Address, type Hex, hashStruct, keccak256 } from 'viem'
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

/** The EIP-712 struct hash (without a domain: the root that is signed has one). */
export function hashReceipt(receipt: Receipt): Hex {
  const { outcome, priceUsdc, startedAt, ...rest } = receipt
  return hashStruct({
    types: { Receipt: typedDataTypes.Receipt },
    primaryType: 'Receipt',
    data: { ...rest, outcome: outcomes[outcome], price: priceUsdc, startedAt: BigInt(startedAt) },
  })
}

/** A leaf of a usage tree: hashed once more than an inner node, so that neither can stand for the other. */
export function receiptLeaf(receipt: Receipt): Hex {
  return keccak256(hashReceipt(receipt))
}

/** JSON for people and files: amounts as decimal strings. */
export function receiptToJson(receipt: Receipt): Record<string, unknown> {
  const { priceUsdc, ...rest } = receipt
  return { ...rest, price: priceUsdc.toString() }
}
