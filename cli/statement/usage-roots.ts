import { type Address, type Hash, type Hex, type PublicClient, pad, parseEventLogs, type RpcLog } from 'viem'
import { reachChain } from '../../protocol/chain/client.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { escrowSelectors } from '../../protocol/chain/event-selectors.ts'
import { readLogs } from '../../protocol/chain/read-logs.ts'
import { readReceipt } from '../../protocol/chain/transaction-fate.ts'
import { limits } from '../../protocol/limits.ts'

/** What providers committed to on chain with each settlement. */
export interface UsageRoots {
  /** @returns none where the transaction settled nothing of this provider; more where it settled more than once */
  rootsOf(provider: Address, transaction: Hash, near: NearBlock): Promise<readonly Hex[]>
}

/** Where a settlement is looked for first, and where the chain ends. Grows. */
export interface NearBlock {
  readonly blockNumber: bigint
  readonly newest: bigint
}

const selectors = escrowSelectors(['BatchSettled'])

/** Reads them for a range of blocks at once, as settlements are many; what is not among them is looked for alone. */
export function createUsageRoots(client: PublicClient, escrow: Address, signal: AbortSignal): UsageRoots {
  /** Of each provider: up to where the last range went, and what it had. */
  const ranges = new Map<Address, { toBlock: bigint; roots: Map<Hash, Hex[]> }>()

  async function readRange(provider: Address, { blockNumber: fromBlock, newest }: NearBlock) {
    const end = fromBlock + BigInt(limits.logRangeBlocksMax) - 1n
    const toBlock = end < newest ? end : newest
    const topics = [selectors, pad(provider)]
    const reading = readLogs(client, { address: escrow, topics, fromBlock, toBlock })
    return { toBlock, roots: parse(await reachChain(reading, 'read usage roots', signal), provider) }
  }

  return {
    async rootsOf(provider, transaction, near) {
      let range = ranges.get(provider)
      if (!range || range.toBlock < near.blockNumber) {
        range = await readRange(provider, near)
        ranges.set(provider, range)
      }
      const known = range.roots.get(transaction)
      if (known) return known
      const found = await readRootsOf(client, { escrow, provider, transaction }, signal)
      range.roots.set(transaction, [...found])
      return found
    },
  }
}

/** The roots that a provider published with one transaction; none where it settled nothing. @throws ProtocolError `chain_unreachable` */
export async function readRootsOf(
  client: PublicClient,
  {
    escrow,
    provider,
    transaction,
  }: { readonly escrow: Address; readonly provider: Address; readonly transaction: Hash },
  signal: AbortSignal,
): Promise<readonly Hex[]> {
  const receipt = await reachChain(readReceipt(client, transaction), 'read a usage root', signal)
  const logs = receipt?.logs.filter(({ address }) => address.toLowerCase() === escrow.toLowerCase()) ?? []
  return parse(logs, provider).get(transaction) ?? []
}

function parse(logs: readonly unknown[], provider: Address): Map<Hash, Hex[]> {
  const roots = new Map<Hash, Hex[]>()
  const parsed = parseEventLogs({ abi: escrowAbi, logs: logs as RpcLog[], eventName: 'BatchSettled' })
  for (const { transactionHash, args } of parsed) {
    if (args.provider !== provider) continue
    roots.set(transactionHash, [...(roots.get(transactionHash) ?? []), args.usageRoot])
  }
  return roots
}
