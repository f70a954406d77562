import type { Hex } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { isUnderRoot, rootPath, type ShownRoot, shownRootSchema } from '../../protocol/published-root.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import type { CommandContext } from '../command.ts'
import { askProvider } from '../market/ask-provider.ts'
import type { OpenMarket } from '../market/open.ts'
import { readOrigins } from '../market/provider-origin.ts'
import type { ResolvedProvider } from '../market/resolve-provider.ts'
import { readRootsOf } from '../statement/usage-roots.ts'
import type { ShownCheck } from './assert-holds.ts'

/**
 * Whether the provider committed to a receipt on chain when it charged for it: the provider shows the way, the chain has the root.
 *
 * @throws ProtocolError `chain_unreachable`; what the provider says in place of the way
 */
export async function checkPublishedRoot(
  receipt: Receipt,
  provider: ResolvedProvider,
  opened: OpenMarket,
  context: CommandContext,
): Promise<ShownCheck & { readonly isUnpublished: boolean }> {
  const originOf = await readOrigins(opened, context)
  const url = new URL(rootPath(receipt.callId), originOf(provider))
  const shown = await askProvider(provider, { url }, shownRootSchema, context.signal)
  const roots =
    shown.state === 'published'
      ? await readRootsOf(
          opened.client,
          {
            escrow: opened.market.contracts.escrow,
            provider: provider.address,
            transaction: shown.transaction,
          },
          context.signal,
        )
      : []
  return judgeRoot(receipt, shown, roots)
}

/** @param roots - Those that this provider published with the transaction that it names. */
export function judgeRoot(
  receipt: Receipt,
  shown: ShownRoot,
  roots: readonly Hex[],
): ShownCheck & { readonly isUnpublished: boolean } {
  const told = { name: 'root', isUnpublished: false } as const
  if (receipt.priceUsdc === zeroUsdc) return { ...told, verdict: 'open', says: 'nothing was charged' }
  if (shown.state === 'published') {
    return isUnderRoot(receipt, shown, roots)
      ? { ...told, verdict: 'ok', says: `published by ${shown.transaction}` }
      : { ...told, verdict: 'wrong', says: `no root of ${shown.transaction} commits to this receipt` }
  }
  if (shown.state === 'x402')
    return { ...told, verdict: 'open', says: 'paid by x402, which no settlement charges' }
  const says = 'no settlement has published a root over this receipt'
  // Who says that a call was free signed that it was not.
  return {
    ...told,
    verdict: shown.state === 'free' ? 'wrong' : 'open',
    says,
    isUnpublished: shown.state !== 'free',
  }
}

export const rootUnpublished = (callId: Hex, facts: Readonly<Record<string, unknown>>) =>
  new ProtocolError('root_unpublished', `No settlement has published a root over the receipt of ${callId}.`, {
    hint: 'All else holds. A call is charged on chain with a later settlement, if at all: ask again then, or leave out --on-chain.',
    details: facts,
  })
