import type { Address, Hex } from 'viem'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { SettleRow } from '../../protocol/settlement.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Usdc } from '../../protocol/usdc.ts'

/** What crosses between the books (main thread) and the journal (worker thread): plain data only. */

/** Whose ledger it is. A ledger of another market or provider is refused. */
export interface LedgerIdentity {
  readonly provider: Address
  readonly market: Market
}

/** One finished call with all that changes by it. Totals are those after it, so the last one of a group wins. */
export interface ChargeRecord {
  /** Position in the journal; counts up by one. */
  readonly receiptId: number
  readonly accountId: number
  readonly receipt: Receipt
  /** All that was charged to the payer's grant so far. */
  readonly chargedUsdc: Usdc
  readonly calls: number
  readonly pass: PassTotal | undefined
  readonly ownerUsage: OwnerTotal | undefined
  readonly key: KeyRecord | undefined
}

export interface PassTotal {
  readonly payer: Address
  readonly id: Hex
  readonly chargedUsdc: Usdc
  readonly validBefore: number
}

/** What a spec cost its owner today (UTC), and how often it was called in this minute, under whatever CIDs it lies. */
export interface OwnerTotal {
  /** SHA-256 of what the owner signed. */
  readonly spec: Hex
  /** Days since 1970. */
  readonly day: number
  readonly chargedUsdc: Usdc
  /** Minutes since 1970. */
  readonly minute: number
  readonly calls: number
}

/** An answer as it goes out again to the same `Idempotency-Key`. */
export interface StoredAnswer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: Uint8Array
}

/** Who may use an `Idempotency-Key`, and for what. */
export interface KeyScope {
  readonly payer: Address
  readonly deployment: Hex
  readonly key: string
}

export interface KeyRecord {
  readonly key: string
  readonly requestDigest: Hex
  readonly storedAtMs: number
  /** Absent where the answer was too large to keep. */
  readonly answer: StoredAnswer | undefined
}

export interface FoundKey {
  readonly requestDigest: Hex
  readonly callId: Hex
  readonly answer: StoredAnswer | undefined
}

export interface AccountTotal {
  readonly accountId: number
  readonly payer: Address
  readonly chargedUsdc: Usdc
  readonly calls: number
}

/** What the journal knows when it opens. */
export interface JournalTotals {
  readonly receiptId: number
  readonly accounts: readonly AccountTotal[]
  readonly passes: readonly PassTotal[]
  readonly owners: readonly OwnerTotal[]
}

/** A payer whose charges go into the next batch, with what the chain says of its grant. */
export interface BatchCandidate {
  readonly payer: Address
  readonly spentUsdc: Usdc
  readonly calls: number
  readonly priceUsdc: Usdc
}

/**
 * `batched` (durable, nothing sent) → `submitted` (a signed transaction is durable) → `mined` → `final`, or
 * `abandoned` when its transaction can never be mined; its receipts then go into the next batch.
 */
export type BatchState = 'batched' | 'submitted' | 'mined' | 'final' | 'abandoned'

export interface Batch {
  readonly id: number
  readonly state: BatchState
  readonly rows: readonly SettleRow[]
  /** Merkle root over the leaves of the receipts that it charges for, in the order of rows, then of receipts. */
  readonly usageRoot: Hex
  readonly receipts: number
}
