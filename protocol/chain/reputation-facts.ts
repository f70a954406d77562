import {
  type Address,
  type Hash,
  type Hex,
  isAddressEqual,
  type PublicClient,
  pad,
  parseEventLogs,
  toEventSelector,
  zeroAddress,
} from 'viem'
import { limits } from '../limits.ts'
import type { ReputationCharge, ReputationFacts } from '../reputation.ts'
import { reachChain } from './client.ts'
import { devUsdcAbi, escrowAbi } from './contracts.ts'
import { escrowSelectors } from './event-selectors.ts'
import { parseUsage } from './grant-events.ts'
import { readLogs } from './read-logs.ts'

export interface ReputationScope {
  readonly escrow: Address
  readonly token: Address
  readonly provider: Address
  /** Of the provider's name. */
  readonly owner: Address
  /** At or before the block of the escrow. */
  readonly fromBlock: bigint
  /** The last one that counts. */
  readonly toBlock: bigint
}

const eventNames = ['Settled', 'Consumed', 'Redeemed', 'RedeemedBySession', 'Rated'] as const
const selectors = escrowSelectors(eventNames)
const depositSelectors = escrowSelectors(['Deposited'])
const transferSelector = toEventSelector('Transfer(address,address,uint256)')

/**
 * What a provider's reputation is made of, a range of blocks at a time.
 *
 * @param onProgress - Hears of the last block that was read.
 * @throws ProtocolError `chain_unreachable`
 */
export async function readReputationFacts(
  client: PublicClient,
  scope: ReputationScope,
  onProgress: (block: bigint) => void,
  signal: AbortSignal,
): Promise<ReputationFacts> {
  const { escrow, token, provider, owner } = scope
  const span = BigInt(limits.logRangeBlocksMax)
  const givers = [...new Set([provider, owner])]
  const charges: ReputationCharge[] = []
  const ratings: { payer: Address; score: number }[] = []
  const gifts: { to: Address; amount: bigint }[] = []
  const read = (query: Parameters<typeof readLogs>[1]) =>
    reachChain(readLogs(client, query), 'read what a provider earned', signal)

  for (let fromBlock = scope.fromBlock; fromBlock <= scope.toBlock; fromBlock += span) {
    const end = fromBlock + span - 1n
    const range = { fromBlock, toBlock: end < scope.toBlock ? end : scope.toBlock }
    const [earned, sent] = await Promise.all([
      read({ address: escrow, topics: [selectors, null, pad(provider)], ...range }),
      read({ address: token, topics: [transferSelector, givers.map((one): Hex => pad(one))], ...range }),
    ])
    for (const log of parseEventLogs({ abi: escrowAbi, logs: earned, eventName: [...eventNames] })) {
      // A server that answers for others has them counted for nobody.
      if (!isAddressEqual(log.args.provider, provider)) continue
      const { payer } = log.args
      if (log.eventName === 'Rated') {
        ratings.push({ payer, score: log.args.score })
        continue
      }
      const signer =
        log.eventName === 'RedeemedBySession'
          ? log.args.signer
          : log.eventName === 'Redeemed'
            ? payer
            : zeroAddress
      const { paidUsdc: paid, calls } = parseUsage(log.args.usage)
      charges.push({ payer, signer, paid, calls })
    }
    const deposits = new Set<Hash>()
    for (const log of parseEventLogs({ abi: devUsdcAbi, logs: sent, eventName: 'Transfer' })) {
      const { from, to, value } = log.args
      if (!givers.some((one) => isAddressEqual(one, from))) continue
      if (isAddressEqual(to, escrow)) deposits.add(log.transactionHash)
      else gifts.push({ to, amount: value })
    }
    if (deposits.size > 0) {
      const logs = await read({ address: escrow, topics: [depositSelectors], ...range })
      for (const log of parseEventLogs({ abi: escrowAbi, logs, eventName: 'Deposited' })) {
        if (deposits.has(log.transactionHash)) gifts.push({ to: log.args.account, amount: log.args.amount })
      }
    }
    onProgress(range.toBlock)
  }
  return { provider, owner, charges, ratings, gifts }
}
