import { z } from 'zod'
import { addressSchema, hexSchema, usdcSchema } from '../../protocol/schema.ts'
import type { Dispute } from '../settlement/prove-collected.ts'

/** What the chain is said to have paid and nobody has proved, over the control socket. */
export const disputeToJson = ({ payer, signer, said, transaction }: Dispute) => ({
  payer,
  signer,
  spentUsdc: said.spentUsdc.toString(),
  calls: said.calls,
  transaction: transaction ?? null,
})

export const disputeSchema = z.object({
  payer: addressSchema,
  signer: addressSchema,
  spentUsdc: usdcSchema,
  calls: z.number().int().min(0),
  transaction: hexSchema(32).nullable(),
})

export const disputesSchema = z.object({ disputes: z.array(disputeSchema) })

/** The operator's word on one of them. */
export const acceptSchema = z.strictObject({
  payer: addressSchema,
  signer: addressSchema,
  upToUsdc: usdcSchema,
})
