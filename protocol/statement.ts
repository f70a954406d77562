import type { Address, Hash, Hex } from 'viem'
import { z } from 'zod'
import { type Outcome, outcomes } from './call.ts'
import { limits } from './limits.ts'
import { type Receipt, receiptToJson } from './receipt.ts'
import { addressSchema, hexSchema, secondsSchema, usdcSchema } from './schema.ts'
import type { Usdc } from './usdc.ts'

/** What a provider shows a payer of its own books, a page at a time. Each page is asked for with a `StatementRequest`. */

/** All that was charged on one lane of a payer: its metered grant, or what one key signs vouchers for in one epoch. */
export interface LaneTotal {
  readonly lane: number
  /** Zero for metered use. */
  readonly signer: Address
  readonly epoch: number
  readonly chargedUsdc: Usdc
  readonly calls: number
}

/** A receipt with its place in a lane. */
export interface ChargedReceipt {
  /** Counts up over all receipts of the provider. */
  readonly id: number
  readonly receipt: Receipt
  /** All that the lane was charged, this call included. A settlement that brings `spent` to this or more pays for it. */
  readonly chargedUsdc: Usdc
  /** Set where an x402 payment pays, and not the lane. */
  readonly payment: { readonly nonce: Hex; readonly transaction: Hash | undefined } | undefined
}

/** What was spent with a pass at one provider. */
export interface PassSpending {
  readonly id: Hex
  readonly spentUsdc: Usdc
  readonly validBefore: number
  readonly isRevoked: boolean
}

/** How a receipt is under the usage root that a settlement published; see `merkleRootOf`. */
export interface ReceiptProof {
  readonly id: number
  /** Null where the provider cannot show it any more. */
  readonly shown: { readonly transaction: Hash; readonly proof: readonly Hex[] } | null
}

/** Where a provider shows each; `after` is the last entry of the page before. */
export const statementPaths = {
  /** `?after=<lane>` */
  lanes: '/_/account/lanes',
  /** `?lane=<lane>&after=<receipt>` */
  receipts: '/_/account/receipts',
  /** `?lane=<lane>&after=<receipt>` */
  proofs: '/_/account/proofs',
  /** `?after=<pass>` */
  passes: '/_/account/passes',
} as const

export const laneToJson = ({ chargedUsdc, ...lane }: LaneTotal) => ({
  ...lane,
  charged: chargedUsdc.toString(),
})

export const chargedReceiptToJson = ({ id, receipt, chargedUsdc, payment }: ChargedReceipt) => ({
  id,
  ...receiptToJson(receipt),
  charged: chargedUsdc.toString(),
  ...(payment && { payment: { nonce: payment.nonce, transaction: payment.transaction ?? null } }),
})

export const passSpendingToJson = ({ spentUsdc, ...pass }: PassSpending) => ({
  ...pass,
  spent: spentUsdc.toString(),
})

const countSchema = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)

const laneShape = z.object({
  lane: countSchema,
  signer: addressSchema,
  epoch: z.number().int().min(0).max(255),
  charged: usdcSchema,
  calls: countSchema,
})
const laneSchema = laneShape.transform(
  ({ charged, ...lane }): LaneTotal => ({ ...lane, chargedUsdc: charged }),
)
const payerLaneSchema = laneShape
  .extend({ payer: addressSchema })
  .transform(({ charged, ...lane }) => ({ ...lane, chargedUsdc: charged }))

/** What `receiptToJson` writes. */
export const receiptShape = {
  callId: hexSchema(32),
  programId: hexSchema(32),
  deployment: hexSchema(32),
  payer: addressSchema,
  provider: addressSchema,
  requestDigest: hexSchema(32),
  responseDigest: hexSchema(32),
  status: countSchema,
  outcome: z
    .string()
    .refine((name) => Object.hasOwn(outcomes, name))
    .transform((name) => name as Outcome),
  price: usdcSchema,
  startedAt: countSchema,
  durationMs: countSchema,
} as const

const receiptSchema = z
  .object({
    ...receiptShape,
    id: countSchema,
    charged: usdcSchema,
    payment: z.object({ nonce: hexSchema(32), transaction: hexSchema(32).nullable() }).optional(),
  })
  .transform(
    ({ id, charged, payment, price, ...receipt }): ChargedReceipt => ({
      id,
      receipt: { ...receipt, priceUsdc: price },
      chargedUsdc: charged,
      payment: payment && { nonce: payment.nonce, transaction: payment.transaction ?? undefined },
    }),
  )

const passSchema = z
  .object({ id: hexSchema(32), spent: usdcSchema, validBefore: secondsSchema, isRevoked: z.boolean() })
  .transform(({ spent, ...pass }): PassSpending => ({ ...pass, spentUsdc: spent }))

/** No tree has as many levels. */
export const proofHashesMax = 64

const proofSchema = z.object({
  id: countSchema,
  shown: z
    .object({ transaction: hexSchema(32), proof: z.array(hexSchema(32)).max(proofHashesMax) })
    .nullable(),
})

const pageOf = <T extends z.ZodType>(entry: T) =>
  z.object({ entries: z.array(entry).max(limits.statementPageEntriesMax) })

/** Pages as they come over the wire; a page that is not full is the last one. */
export const statementPageSchemas = {
  lanes: pageOf(laneSchema),
  /** Of the provider's own socket only. */
  payerLanes: pageOf(payerLaneSchema),
  receipts: pageOf(receiptSchema),
  proofs: pageOf(proofSchema),
  passes: pageOf(passSchema),
} as const
