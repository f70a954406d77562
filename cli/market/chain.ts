import {
  type Account,
  type Chain,
  createPublicClient,
  createWalletClient,
  defineChain,
  type HttpTransport,
  http,
  type PublicClient,
  type WalletClient,
} from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { MarketPlace } from './market.ts'

/** Chains of development tools: blocks come at once, and nothing on them has a value. */
const devChainIds: readonly number[] = [31_337, 1_337]

export const isDevChain = ({ chainId }: { chainId: number }): boolean => devChainIds.includes(chainId)

export type Chains = PublicClient<HttpTransport, Chain>

/**
 * Opens the way to the market's chain, and holds it to the chain's id: a signature or a payment for another chain would
 * mean something else there.
 *
 * @throws ProtocolError `chain_unreachable`, `market_not_running`, `config_invalid`
 */
export async function connectChain(market: MarketPlace, signal: AbortSignal): Promise<Chains> {
  const client = createPublicClient(clientOptions(market))
  const found = await client.getChainId().catch((cause: unknown) => {
    signal.throwIfAborted()
    const isLocal = market.keys !== undefined
    throw new ProtocolError(
      isLocal ? 'market_not_running' : 'chain_unreachable',
      `The chain at ${market.rpc.origin} does not answer.`,
      {
        hint: isLocal ? 'Start the market again with "npm start".' : 'Check --rpc, or try again later.',
        cause,
      },
    )
  })
  if (found === market.chainId) return client
  throw new ProtocolError(
    'config_invalid',
    `${market.rpc.origin} is chain ${found}, the market is on ${market.chainId}.`,
    {
      hint: 'Give the --rpc of the chain that the gateway works on.',
    },
  )
}

/** A client that signs with `account`. */
export function connectWallet(
  market: MarketPlace,
  account: Account,
): WalletClient<HttpTransport, Chain, Account> {
  return createWalletClient({ ...clientOptions(market), account })
}

function clientOptions(market: MarketPlace) {
  return {
    chain: defineChain({
      id: market.chainId,
      name: `chain ${market.chainId}`,
      nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
      rpcUrls: { default: { http: [market.rpc.href] } },
    }),
    transport: http(market.rpc.href, { timeout: limits.rpcTimeoutMs, retryCount: 0 }),
    pollingInterval: isDevChain(market) ? 50 : 2_000,
  }
}
