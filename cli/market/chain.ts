import type { PublicClient } from 'viem'
import { assertChain, createChainClient } from '../../protocol/chain/client.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import type { MarketPlace } from './market.ts'

/**
 * Opens the way to the market's chain, and holds it to the chain's id: a signature or a payment for another chain would
 * mean something else there.
 *
 * @throws ProtocolError `chain_unreachable`, `market_not_running`, `config_invalid`
 */
export async function connectChain(market: MarketPlace, signal: AbortSignal): Promise<PublicClient> {
  const client = createChainClient({ chainId: market.chainId, rpcUrls: [market.rpc, ...market.moreRpcs] })
  await assertChain(client, market.chainId, signal).catch((error: unknown) => {
    const isGone = market.keys && isProtocolError(error) && error.code === 'chain_unreachable'
    if (!isGone) throw error
    throw new ProtocolError(
      'market_not_running',
      `The local market's chain at ${market.rpc.origin} does not answer.`,
      {
        hint: 'Start the market again with "npm start".',
        cause: error,
      },
    )
  })
  return client
}
