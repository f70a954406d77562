import { z } from 'zod'
import { parseSignedReceipt } from './read-receipt.ts'
import { receiptToJson } from './receipt.ts'
import type { KeptReceipt } from './receipt-evidence.ts'
import { hexSchema } from './schema.ts'
import { formatSignedReceipt, receiptCharsMax } from './signed-receipt.ts'
import { proofHashesMax, receiptShape } from './statement.ts'

const lineSchema = z.object({
  ...receiptShape,
  signed: z.string().max(receiptCharsMax).optional(),
  root: z.object({ proof: z.array(hexSchema(32)).max(proofHashesMax) }).optional(),
})

/** One line of a file of receipts: the fields of `/_/receipts/<call>`, and its way to a usage root where one was published. */
export const formatKeptReceipt = ({ receipt, signed, proof }: KeptReceipt): string =>
  JSON.stringify({
    ...receiptToJson(receipt),
    ...(signed && { signed: formatSignedReceipt(signed) }),
    ...(proof && { root: { proof } }),
  })

/** @returns undefined for anything else. What it says may still be wrong. */
export function parseKeptReceipt(json: unknown): KeptReceipt | undefined {
  const parsed = lineSchema.safeParse(json)
  if (!parsed.success) return undefined
  const { signed: word, root, price, ...receipt } = parsed.data
  const signed = word === undefined ? undefined : parseSignedReceipt(word)
  if (!signed && !root) return undefined
  return { receipt: { ...receipt, priceUsdc: price }, signed, proof: root?.proof }
}
