import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { Lane } from './lanes.ts'

/** What was collected from a grant in all, over all its epochs; of trial calls only their number. */
export interface Collected {
  readonly spentUsdc: Usdc
  readonly calls: number
}

export const nothingCollected: Collected = { spentUsdc: zeroUsdc, calls: 0 }

/** Whose grant or trial calls: the same in every epoch. */
export type CollectedFrom = Pick<Lane, 'payer' | 'signer'>

/**
 * What holds of grants although the books do not know of it, because they were lost. Only the provider itself can collect, by
 * transactions that it signs: so whoever says that it has collected more than it ever booked must show one.
 */
export interface CollectedProofs {
  /** What is proved of it, or was accepted by the operator. */
  find(from: CollectedFrom): Collected
  /** Looks for a proof of what the chain is said to know, behind the calls; often and at once is no more than now and then. */
  seek(from: CollectedFrom, said: Collected): void
}

/** Where nobody looks for proofs, the books alone are believed. */
export const noProofs: CollectedProofs = { find: () => nothingCollected, seek: () => undefined }

export const isWithin = (said: Collected, bound: Collected): boolean =>
  said.spentUsdc <= bound.spentUsdc && said.calls <= bound.calls

/** The larger of each number: each was booked or signed for by itself. */
export const higherOf = (a: Collected, b: Collected): Collected => ({
  spentUsdc: (a.spentUsdc > b.spentUsdc ? a : b).spentUsdc,
  calls: Math.max(a.calls, b.calls),
})

/** The lane stands still: what its next settlement asked for would come on top of what nobody has proved. */
export const collectedUnproved = (
  { payer }: { readonly payer: Address },
  { said, known }: { readonly said: Collected; readonly known: Collected },
) =>
  new ProtocolError(
    'chain_disputed',
    `The provider is told that it has collected ${formatUsdc(said.spentUsdc)} USDC for ${said.calls} calls of ${payer}; it knows of ${formatUsdc(known.spentUsdc)} for ${known.calls}.`,
    {
      hint: 'Come back in a moment, while it looks for the transaction. If it stays, its operator decides with "khachapuri provider disputes".',
      details: { payer, retryAfterSeconds: 2 },
    },
  )
