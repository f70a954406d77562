import type { Address, PublicClient } from 'viem'
import type { ReputationFacts } from '../reputation.ts'
import { reachChain } from './client.ts'
import { readReputationFacts } from './reputation-facts.ts'

/** Reads what reputations are made of, for who keeps them up to date. */
export function createReputationReader(
  client: PublicClient,
  { escrow, token }: { readonly escrow: Address; readonly token: Address },
) {
  return {
    /** The newest block that no re-org takes back; the newest of all on chains that do not say. */
    async newestBlock(signal: AbortSignal): Promise<bigint> {
      const safe = client.getBlock({ blockTag: 'safe' }).then(
        ({ number }) => number,
        () => undefined,
      )
      const known = await reachChain(safe, 'read the safe block', signal)
      return known ?? reachChain(client.getBlockNumber({ cacheTime: 0 }), 'read the newest block', signal)
    },
    read(
      scope: {
        readonly provider: Address
        readonly owner: Address
        readonly fromBlock: bigint
        readonly toBlock: bigint
      },
      signal: AbortSignal,
    ): Promise<ReputationFacts> {
      return readReputationFacts(client, { escrow, token, ...scope }, () => undefined, signal)
    },
  }
}
