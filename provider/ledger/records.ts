import type { Address, Hash, Hex } from 'viem'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import type { PassRevocation } from '../../protocol/pass-revocation.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { SettleRow } from '../../protocol/settlement.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'
import type { Authorization } from '../../protocol/x402.ts'
import type { Lane } from './lanes.ts'

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
  /** The account's lane; left out for metered use. */
  readonly lane?: Lane
  readonly receipt: Receipt
  /** All that was charged to the payer's grant so far. */
  readonly chargedUsdc: Usdc
  readonly calls: number
  readonly pass: PassTotal | undefined
  readonly ownerUsage: OwnerTotal | undefined
  readonly key: KeyRecord | undefined
  /** Set where an x402 payment pays, and not a grant: totals do not change, and no settlement charges for the receipt. */
  readonly payment?: { readonly id: PaymentId; readonly ending: PaymentEnding | undefined }
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

export interface AccountTotal extends Lane {
  readonly chargedUsdc: Usdc
  readonly calls: number
}

/** What the journal knows when it opens. */
export interface JournalTotals {
  readonly receiptId: number
  readonly accounts: readonly AccountTotal[]
  readonly passes: readonly PassTotal[]
  readonly owners: readonly OwnerTotal[]
  readonly revokedPasses: readonly PassRevocation[]
  /** The highest of each lane. */
  readonly vouchers: readonly SignedVoucher[]
  readonly voucherAccesses: readonly ProvedAccess[]
}

/** A lane whose charges or trial calls go into the next batch. All of a batch are of one kind. */
export type BatchCandidate = GrantCandidate | TrialCandidate

/** With what the chain says of its grant. */
export interface GrantCandidate extends Lane {
  /** What bounds the claim; undefined for metered use. */
  readonly voucher: SignedVoucher | undefined
  readonly spentUsdc: Usdc
  readonly calls: number
  readonly priceUsdc: Usdc
}

/** With what the chain says of the user's credits. */
export interface TrialCandidate extends Lane {
  readonly granted: number
  readonly used: number
}

/**
 * `batched` (durable, nothing sent) → `submitted` (a signed transaction is durable) → `mined` → `final`, or
 * `abandoned` when its transaction can never be mined; its receipts then go into the next batch.
 */
export type BatchState = 'batched' | 'submitted' | 'mined' | 'final' | 'abandoned'

/** One row of a settlement. All of a batch have a voucher, or none has; all are of trial calls, or none is. */
export interface BatchRow extends SettleRow {
  /** Set where it is redeemed from the grant of a key that signs vouchers. */
  readonly voucher?: SignedVoucher
  /** Set where it counts trial calls; its amount is zero. */
  readonly isTrial?: true
}

export interface Batch {
  readonly id: number
  readonly state: BatchState
  readonly rows: readonly BatchRow[]
  /** Merkle root over the leaves of the receipts that it charges for, in the order of rows, then of receipts. */
  readonly usageRoot: Hex
  readonly receipts: number
}

/** An authorization can be used once: what makes two x402 payments one. */
export interface PaymentId {
  readonly payer: Address
  readonly nonce: Hex
}

/**
 * `reserved` (durable, before the program runs) → `executed` (answered: the money is due) → `submitted` (a signed
 * transaction is durable) → `mined` → `final` (a safe block has it); or `released`: nothing was paid, and nothing will be.
 * A re-org takes what is `mined` back to `submitted`.
 */
export type PaymentState = 'reserved' | 'executed' | 'submitted' | 'mined' | 'final' | 'released'

/** How a payment ended. */
export type PaymentEnding =
  | { readonly state: 'mined'; readonly transaction: Hash; readonly blockNumber: bigint }
  /** With why nothing was paid. */
  | { readonly state: 'released'; readonly reason: string }

/** Where a mined payment is when it is looked for again; undefined where it is in no block any more. */
export type PaymentPlace =
  | { readonly isFinal: true }
  | { readonly isFinal: false; readonly blockNumber: bigint }
  | undefined

/** A payment for one call, before the program runs. */
export interface PaymentOrder {
  readonly callId: Hex
  readonly authorization: Authorization
  readonly signature: Hex
  /** SHA-256 in the deployment's CID. */
  readonly deployment: Hex
  /** What makes a repetition the same request. */
  readonly requestDigest: Hex
  /** A block before which nobody can have used the authorization. */
  readonly fromBlock: bigint
}

/** The `Idempotency-Key` of a paid call. */
export interface PaymentKey {
  readonly key: string
  readonly requestDigest: Hex
}

export interface PaymentRecord extends PaymentOrder {
  readonly state: PaymentState
  /** Whether its receipt is in the books. */
  readonly isBooked: boolean
  readonly transaction: Hash | undefined
  readonly reason: string | undefined
  /** As it will be in the books; set from `executed` on. */
  readonly receipt: Receipt | undefined
  readonly key: PaymentKey | undefined
  readonly answer: StoredAnswer | undefined
}

/** That a key has proved that it shows vouchers itself: see `protocol/voucher-token.ts`. */
export interface ProvedAccess {
  readonly payer: Address
  readonly signer: Address
  readonly epoch: number
  /** SHA-256 of the access, which itself is worth money and is kept nowhere. */
  readonly digest: Hex
}
