import type { Hash, Hex } from 'viem'
import { z } from 'zod'
import { merkleRootOf } from './merkle.ts'
import { type Receipt, receiptLeaf } from './receipt.ts'
import { hexSchema } from './schema.ts'
import { proofHashesMax } from './statement.ts'

/** What a provider shows of a receipt's way to the chain, to whoever knows its call: `/_/receipts/<call>/root`. */
export type ShownRoot =
  /** A settlement published a root that commits to it; `proof` leads there: see `merkleRootOf`. */
  | { readonly state: 'published'; readonly transaction: Hash; readonly proof: readonly Hex[] }
  /** None did so far: the call is not settled, or the provider cannot show it any more. */
  | { readonly state: 'unpublished' }
  /** The call cost nothing, or an x402 payment paid for it: no settlement charges for those. */
  | { readonly state: 'free' | 'x402' }

export const rootPath = (callId: Hex): string => `/_/receipts/${callId}/root`

export const shownRootSchema: z.ZodType<ShownRoot> = z.union([
  z.object({
    state: z.literal('published'),
    transaction: hexSchema(32),
    proof: z.array(hexSchema(32)).max(proofHashesMax),
  }),
  z.object({ state: z.enum(['unpublished', 'free', 'x402']) }),
])

/** Whether one of the roots that a transaction published commits to the receipt. */
export function isUnderRoot(
  receipt: Receipt,
  { proof }: Extract<ShownRoot, { state: 'published' }>,
  roots: readonly Hex[],
): boolean {
  return roots.includes(merkleRootOf(receiptLeaf(receipt), proof))
}
