import type { Address } from 'viem'
import { reachChain } from '../../protocol/chain/client.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { readCreditsEvents } from '../../protocol/chain/credits-events.ts'
import { type Credits, toCreditCalls } from '../../protocol/credits.ts'
import { limits } from '../../protocol/limits.ts'
import type { OpenMarket } from './open.ts'

/** What a provider gave a user, as it lies in storage. @throws ProtocolError `chain_unreachable` */
export async function readCredits(
  { market, client }: OpenMarket,
  { provider, user }: { readonly provider: Address; readonly user: Address },
  signal: AbortSignal,
): Promise<Credits> {
  const request = {
    address: market.contracts.escrow,
    abi: escrowAbi,
    functionName: 'creditsOf',
    args: [provider, user],
  } as const
  const { granted, used } = await reachChain(client.readContract(request), 'read trial credits', signal)
  return { provider, user, granted: toCreditCalls(granted), used: toCreditCalls(used) }
}

/**
 * All that a provider gave, or all that a user was given, in the order in which it was first given.
 *
 * @param fromBlock - No later than the first of it; a public chain is read in ranges from there on.
 * @throws ProtocolError `chain_unreachable`
 */
export async function listCredits(
  { market, client }: OpenMarket,
  whose: { readonly provider: Address } | { readonly user: Address },
  { fromBlock, signal }: { readonly fromBlock: bigint; readonly signal: AbortSignal },
): Promise<Credits[]> {
  const { escrow } = market.contracts
  const head = await reachChain(client.getBlockNumber(), 'read the head', signal)
  const found = new Map<string, Credits>()
  const span = BigInt(limits.logRangeBlocksMax)
  for (let from = fromBlock; from <= head; from += span) {
    const toBlock = from + span - 1n < head ? from + span - 1n : head
    const range = { escrow, ...whose, fromBlock: from, toBlock }
    const events = await reachChain(readCreditsEvents(client, range), 'read trial credits', signal)
    for (const { credits } of events) found.set(credits.provider + credits.user, credits)
  }
  return [...found.values()]
}
