import { type Address, type Hash, type PublicClient, pad, parseEventLogs, zeroAddress } from 'viem'
import type { Grant } from '../grant.ts'
import { type Usdc, usdc } from '../usdc.ts'
import { escrowAbi } from './contracts.ts'
import { escrowSelectors } from './event-selectors.ts'
import { readLogs } from './read-logs.ts'

/** One event of the escrow about one grant of a provider. */
export interface GrantEvent {
  readonly blockNumber: bigint
  readonly payer: Address
  readonly signer: Address
  readonly kind: 'approved' | 'revoked' | 'reclaimed' | 'charged'
  /** The transaction that it is of, as the server says. */
  readonly transaction: Hash
  /** What the grant is after the event; undefined where it is closed. */
  apply(before: Grant | undefined): Grant | undefined
}

export interface LogRange {
  readonly escrow: Address
  readonly provider: Address
  readonly fromBlock: bigint
  readonly toBlock: bigint
}

const eventNames = [
  'Approved',
  'Revoked',
  'Reclaimed',
  'Settled',
  'Consumed',
  'Redeemed',
  'RedeemedBySession',
] as const
const selectors = escrowSelectors(eventNames)

/** Reads what happened to the grants of a provider in a range of blocks, in the order of the chain. */
export async function readGrantEvents(client: PublicClient, range: LogRange): Promise<GrantEvent[]> {
  const topics = [selectors, null, pad(range.provider)]
  const logs = await readLogs(client, { ...range, address: range.escrow, topics })
  return parseEventLogs({ abi: escrowAbi, logs, eventName: [...eventNames] })
    .filter(({ args }) => args.provider === range.provider)
    .map((log) => toGrantEvent(log))
}

type GrantLog = ReturnType<
  typeof parseEventLogs<typeof escrowAbi, true, (typeof eventNames)[number][]>
>[number]

function toGrantEvent(log: GrantLog): GrantEvent {
  const { payer } = log.args
  const { transactionHash: transaction } = log
  const blockNumber = BigInt(log.blockNumber)
  switch (log.eventName) {
    case 'Approved': {
      const { provider, signer, spent, budget, price, calls, expiry, notice, epoch } = log.args
      const grant: Grant = {
        payer,
        provider,
        signer,
        spentUsdc: usdc(spent),
        budgetUsdc: usdc(budget),
        priceUsdc: usdc(BigInt(price)),
        calls,
        expiry,
        noticeHours: notice,
        epoch,
      }
      return { kind: 'approved', transaction, blockNumber, payer, signer, apply: () => grant }
    }
    case 'Revoked': {
      const { signer, expiry } = log.args
      return {
        kind: 'revoked',
        transaction,
        blockNumber,
        payer,
        signer,
        apply: (grant) => grant && { ...grant, expiry },
      }
    }
    case 'Reclaimed':
      return {
        kind: 'reclaimed',
        transaction,
        blockNumber,
        payer,
        signer: log.args.signer,
        apply: () => undefined,
      }
    case 'Redeemed':
      return toCharge(log, payer)
    case 'RedeemedBySession':
      return toCharge(log, log.args.signer)
    default:
      return toCharge(log, zeroAddress)
  }
}

/** Metered use and vouchers alike: the event carries the grant's new values. */
function toCharge(
  {
    blockNumber,
    transactionHash: transaction,
    args: { payer, usage },
  }: Extract<GrantLog, { args: { usage: bigint } }>,
  signer: Address,
): GrantEvent {
  const { spentUsdc, budgetUsdc, calls } = parseUsage(usage)
  return {
    kind: 'charged',
    transaction,
    blockNumber: BigInt(blockNumber),
    payer,
    signer,
    apply: (grant) => grant && { ...grant, spentUsdc, budgetUsdc, calls },
  }
}

/** What one row of a settlement was paid, and the grant's new values: `spent u64 | budget u64 | paid u64 | calls u32`. */
export interface Usage {
  readonly spentUsdc: Usdc
  readonly budgetUsdc: Usdc
  readonly paidUsdc: Usdc
  readonly calls: number
}

export function parseUsage(word: bigint): Usage {
  const uint64At = (bit: bigint) => usdc(BigInt.asUintN(64, word >> bit))
  return {
    spentUsdc: uint64At(0n),
    budgetUsdc: uint64At(64n),
    paidUsdc: uint64At(128n),
    calls: Number(BigInt.asUintN(32, word >> 192n)),
  }
}
