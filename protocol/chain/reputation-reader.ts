import type { Address, PublicClient } from 'viem'
import type { ReputationFacts } from '../reputation.ts'
import { reachChain } from './client.ts'
import { readReputationFacts } from './reputation-facts.ts'

/** Reads what reputations are made of, for who keeps them up to date. */
export interface ReputationReader {
  /** The newest block that no re-org takes back; the newest of all on chains that do not say. */
  newestBlock(signal: AbortSignal): Promise<bigint>
  /** @param scope - Both blocks included. */
  read(scope: ReputationScope, signal: AbortSignal): Promise<ReputationFacts>
}

export interface ReputationScope {
  readonly provider: Address
  readonly owner: Address
  readonly fromBlock: bigint
  readonly toBlock: bigint
}

export function createReputationReader(
  client: PublicClient,
  { escrow, token }: { readonly escrow: Address; readonly token: Address },
): ReputationReader {
  return {
    async newestBlock(signal) {
      const safe = client.getBlock({ blockTag: 'safe' }).then(
        ({ number }) => number,
        () => undefined,
      )
      const known = await reachChain(safe, 'read the safe block', signal)
      return known ?? reachChain(client.getBlockNumber({ cacheTime: 0 }), 'read the newest block', signal)
    },
    read: (scope, signal) =>
      readReputationFacts(client, { escrow, token, ...scope }, () => undefined, signal),
  }
}
