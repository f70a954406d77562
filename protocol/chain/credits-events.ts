import { type Address, type PublicClient, pad, parseEventLogs, type RpcLog, toEventSelector } from 'viem'
import { type Credits, toCreditCalls } from '../credits.ts'
import { escrowAbi } from './contracts.ts'

/** One event of the escrow about the trial credits of a provider or of a user. */
export interface CreditsEvent {
  readonly blockNumber: bigint
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
const selectors = escrowAbi
  .filter((entry) => entry.type === 'event' && eventNames.some((name) => name === entry.name))
  .map((entry) => toEventSelector(entry as Parameters<typeof toEventSelector>[0]))

/** Reads what happened to trial credits in a range of blocks, in the order of the chain. */
export async function readCreditsEvents(
  client: PublicClient,
  { escrow, provider, user, fromBlock, toBlock }: CreditsRange,
): Promise<CreditsEvent[]> {
  const logs = (await client.request({
    method: 'eth_getLogs',
    params: [
      {
        address: escrow,
        fromBlock: `0x${fromBlock.toString(16)}`,
        toBlock: `0x${toBlock.toString(16)}`,
        topics: [selectors, provider ? pad(provider) : null, user ? pad(user) : null],
      },
    ],
  })) as RpcLog[]
  // A server that answers another question must not make credits.
  const asked = logs.filter(({ address }) => address.toLowerCase() === escrow.toLowerCase())
  return parseEventLogs({ abi: escrowAbi, logs: asked, eventName: [...eventNames] })
    .filter(({ args }) => args.provider === (provider ?? args.provider) && args.user === (user ?? args.user))
    .map(({ blockNumber, args }) => ({
      blockNumber: BigInt(blockNumber),
      credits: {
        provider: args.provider,
        user: args.user,
        granted: toCreditCalls(args.granted),
        used: toCreditCalls(args.used),
      },
    }))
}
