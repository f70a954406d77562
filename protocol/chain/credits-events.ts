import { type Address, type Hash, type PublicClient, pad, parseEventLogs } from 'viem'
import { type Credits, toCreditCalls } from '../credits.ts'
import { escrowAbi } from './contracts.ts'
import { escrowSelectors } from './event-selectors.ts'
import { readLogs } from './read-logs.ts'

/** One event of the escrow about the trial credits of a provider or of a user. */
export interface CreditsEvent {
  readonly kind: 'granted' | 'used'
  readonly blockNumber: bigint
  /** The transaction that it is of, as the server says. */
  readonly transaction: Hash
  /** What they are after it. */
  readonly credits: Credits
}

/** Whose events: those of a provider, those of a user, or what one has of the other. */
export interface CreditsRange {
  readonly escrow: Address
  readonly provider?: Address
  readonly user?: Address
  readonly fromBlock: bigint
  readonly toBlock: bigint
}

const eventNames = ['CreditsGranted', 'CreditsUsed'] as const
const selectors = escrowSelectors(eventNames)

/** Reads what happened to trial credits in a range of blocks, in the order of the chain. */
export async function readCreditsEvents(
  client: PublicClient,
  { escrow, provider, user, fromBlock, toBlock }: CreditsRange,
): Promise<CreditsEvent[]> {
  const topics = [selectors, provider ? pad(provider) : null, user ? pad(user) : null]
  const logs = await readLogs(client, { address: escrow, topics, fromBlock, toBlock })
  return parseEventLogs({ abi: escrowAbi, logs, eventName: [...eventNames] })
    .filter(({ args }) => args.provider === (provider ?? args.provider) && args.user === (user ?? args.user))
    .map(({ eventName, blockNumber, transactionHash, args }) => ({
      kind: eventName === 'CreditsUsed' ? ('used' as const) : ('granted' as const),
      blockNumber: BigInt(blockNumber),
      transaction: transactionHash,
      credits: {
        provider: args.provider,
        user: args.user,
        granted: toCreditCalls(args.granted),
        used: toCreditCalls(args.used),
      },
    }))
}
