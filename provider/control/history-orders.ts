import { z } from 'zod'
import { addressSchema, hexSchema, usdcSchema } from '../../protocol/schema.ts'
import { chargedReceiptToJson, laneToJson } from '../../protocol/statement.ts'
import type { LedgerHistory } from '../ledger/ledger.ts'

/** What the operator's command line may read of the ledger of a running provider, for its statement. */
export const historyOrderSchema = z.discriminatedUnion('read', [
  z.strictObject({
    read: z.literal('charges'),
    payer: addressSchema,
    signer: addressSchema,
    epoch: z.number().int().min(0).max(255),
    fromUsdc: usdcSchema,
    toUsdc: usdcSchema,
    after: z.number().int().min(0),
  }),
  z.strictObject({ read: z.literal('batch'), transaction: hexSchema(32) }),
  z.strictObject({ read: z.literal('paid call'), transaction: hexSchema(32) }),
  z.strictObject({ read: z.literal('payments') }),
  z.strictObject({ read: z.literal('lanes'), after: z.number().int().min(0) }),
])

export type HistoryOrder = z.output<typeof historyOrderSchema>

/** @returns what goes out as JSON: a page of charges, a batch or call or null, or a sum */
export async function readHistory(history: LedgerHistory, order: HistoryOrder): Promise<object | null> {
  switch (order.read) {
    case 'charges': {
      const { read: _read, ...range } = order
      return { entries: (await history.readChargesBetween(range)).map(chargedReceiptToJson) }
    }
    case 'batch':
      return (await history.findBatch(order.transaction)) ?? null
    case 'paid call': {
      const found = await history.findPaidCall(order.transaction)
      return found ? { ...found, amountUsdc: found.amountUsdc.toString() } : null
    }
    case 'payments': {
      const { payments, amountUsdc } = await history.sumPayments()
      return { payments, amountUsdc: amountUsdc.toString() }
    }
    case 'lanes': {
      const lanes = await history.readAllLanes(order)
      return { entries: lanes.map(({ payer, ...lane }) => ({ payer, ...laneToJson(lane) })) }
    }
  }
}
