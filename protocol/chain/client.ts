import { createPublicClient, defineChain, type PublicClient } from 'viem'
import { raceSignal } from '../base/signal.ts'
import { ProtocolError } from '../errors.ts'
import { toChainError } from './chain-error.ts'
import { createRpcTransport } from './rpc-transport.ts'

export interface ChainOptions {
  /** Zero where it is not known yet. */
  readonly chainId: number
  /** Tried in this order; what decides about money is compared. */
  readonly rpcUrls: readonly URL[]
}

/**
 * A client for one chain over one or more RPC servers, each answer within a time limit; see `createRpcTransport`. Nothing
 * is asked of one server twice here: the loops above decide when to try again.
 */
export function createChainClient({ chainId, rpcUrls }: ChainOptions): PublicClient {
  return createPublicClient({
    chain: defineChain({
      id: chainId,
      name: `chain ${chainId}`,
      nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 },
      rpcUrls: { default: { http: rpcUrls.map((url) => url.href) } },
    }),
    transport: createRpcTransport(rpcUrls, { chainId: chainId || undefined }),
    // Every caller here wants the state of now.
    cacheTime: 0,
  }) as PublicClient
}

/** Holds a client to its chain's id. @throws ProtocolError `chain_unreachable`, `config_invalid` */
export async function assertChain(client: PublicClient, chainId: number, signal: AbortSignal): Promise<void> {
  const found = await reachChain(client.getChainId(), 'what chain is this', signal)
  if (found === chainId) return
  throw new ProtocolError('config_invalid', `The RPC server is on chain ${found}, not on ${chainId}.`, {
    hint: 'Give the RPC server of the chain that the escrow is on.',
  })
}

/** Waits for an answer of the chain. @throws the reason of `signal`, or what `toChainError` makes of the failure. */
export async function reachChain<T>(request: Promise<T>, what: string, signal: AbortSignal): Promise<T> {
  try {
    return await raceSignal(request, signal)
  } catch (error) {
    signal.throwIfAborted()
    throw toChainError(error, what)
  }
}
