import { type Address, type Hex, isAddressEqual, type PublicClient, pad, parseEventLogs } from 'viem'
import { limits } from '../limits.ts'
import { reachChain } from './client.ts'
import { escrowAbi } from './contracts.ts'
import { escrowSelectors } from './event-selectors.ts'
import { readLogs } from './read-logs.ts'

const selectors = escrowSelectors(['BatchSettled'])

/**
 * The usage roots that a provider published with its settlements, in a range of blocks.
 *
 * @throws ProtocolError `chain_unreachable`
 */
export async function readUsageRoots(
  client: PublicClient,
  {
    escrow,
    provider,
    ...range
  }: {
    readonly escrow: Address
    readonly provider: Address
    readonly fromBlock: bigint
    readonly toBlock: bigint
  },
  signal: AbortSignal,
): Promise<Set<Hex>> {
  const span = BigInt(limits.logRangeBlocksMax)
  const roots = new Set<Hex>()
  for (let fromBlock = range.fromBlock; fromBlock <= range.toBlock; fromBlock += span) {
    const end = fromBlock + span - 1n
    const toBlock = end < range.toBlock ? end : range.toBlock
    const reading = readLogs(client, {
      address: escrow,
      topics: [selectors, pad(provider)],
      fromBlock,
      toBlock,
    })
    const logs = await reachChain(reading, 'read usage roots', signal)
    for (const { args } of parseEventLogs({ abi: escrowAbi, logs, eventName: 'BatchSettled' }))
      if (isAddressEqual(args.provider, provider)) roots.add(args.usageRoot)
  }
  return roots
}
