import { type Address, getAbiItem, hexToBytes, type PublicClient } from 'viem'
import { isProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Name, nameNode, parseName } from '../name.ts'
import { reachChain } from './client.ts'
import { registryAbi, resolverAbi } from './contracts.ts'

/** Where to begin to read: no later than what is looked for. */
export interface HistoryRange {
  readonly fromBlock: bigint
}

/**
 * The names that were registered for an account, the newest first, whoever owns them now. Those that it got from another
 * owner are not among them: such events do not tell the name.
 *
 * @throws ProtocolError `chain_unreachable`
 */
export async function listRegisteredNames(
  client: PublicClient,
  { registry, owner, fromBlock }: { registry: Address; owner: Address } & HistoryRange,
  signal: AbortSignal,
): Promise<readonly Name[]> {
  const event = getAbiItem({ abi: registryAbi, name: 'Registered' })
  const names = new Set<Name>()
  for await (const range of rangesBackwards(client, fromBlock, signal)) {
    const logs = await reachChain(
      client.getLogs({ address: registry, event, args: { owner }, ...range }),
      'read the registrations',
      signal,
    )
    for (const { args } of logs.reverse()) {
      const name = toName(args.label)
      if (name) names.add(name)
    }
  }
  return [...names]
}

/** What a name stood for from a block on. */
export interface PastContent {
  readonly blockNumber: bigint
  /** As it was set; empty where it was to stand for nothing. */
  readonly contenthash: Uint8Array
}

/**
 * What a name stood for, the newest first, for as long as it had this resolver. Read as far as the reader goes on asking.
 *
 * @throws ProtocolError `chain_unreachable`
 */
export async function* readContentHistory(
  client: PublicClient,
  { resolver, name, fromBlock }: { resolver: Address; name: Name } & HistoryRange,
  signal: AbortSignal,
): AsyncGenerator<PastContent> {
  const event = getAbiItem({ abi: resolverAbi, name: 'ContenthashChanged' })
  for await (const range of rangesBackwards(client, fromBlock, signal)) {
    const logs = await reachChain(
      client.getLogs({ address: resolver, event, args: { node: nameNode(name) }, ...range }),
      'read what the name stood for',
      signal,
    )
    for (const { args, blockNumber } of logs.reverse())
      yield { blockNumber, contenthash: hexToBytes(args.hash ?? '0x') }
  }
}

/** Ranges that RPC servers answer for, from the head back to `fromBlock`. */
async function* rangesBackwards(client: PublicClient, fromBlock: bigint, signal: AbortSignal) {
  const span = BigInt(limits.logRangeBlocksMax)
  let toBlock = await reachChain(client.getBlockNumber({ cacheTime: 0 }), 'read the head', signal)
  while (toBlock >= fromBlock) {
    const first = toBlock - span + 1n
    const from = first > fromBlock ? first : fromBlock
    yield { fromBlock: from, toBlock }
    toBlock = from - 1n
  }
}

/** The contract lets no other label pass, but whoever answers for the chain might. */
function toName(label: string | undefined): Name | undefined {
  try {
    return label === undefined ? undefined : parseName(label)
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}
