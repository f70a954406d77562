import {
  type Address,
  type Hash,
  type Hex,
  type PublicClient,
  pad,
  parseEventLogs,
  type RpcLog,
  toEventSelector,
} from 'viem'
import { meteredSigner } from '../grant.ts'
import { limits } from '../limits.ts'
import { type Usdc, usdc } from '../usdc.ts'
import { reachChain } from './client.ts'
import { devUsdcAbi, escrowAbi } from './contracts.ts'
import { escrowSelectors } from './event-selectors.ts'
import { parseUsage, type Usage } from './grant-events.ts'
import { type LogQuery, readLogs } from './read-logs.ts'

/** Something that changed, or explains, what an account has in the escrow. */
export type AccountEvent = EventPlace & AccountChange

export interface EventPlace {
  readonly blockNumber: bigint
  readonly logIndex: number
  readonly transaction: Hash
}

/** One grant: its payer, its provider, and zero for metered use. */
export interface GrantParties {
  readonly payer: Address
  readonly provider: Address
  readonly signer: Address
}

export type AccountChange =
  | {
      readonly kind: 'deposited' | 'withdrawn'
      readonly amountUsdc: Usdc
      /** What the account has free after it; so in all of these. */
      readonly balanceUsdc: Usdc
    }
  | (GrantParties & {
      readonly kind: 'approved'
      readonly budgetUsdc: Usdc
      readonly spentUsdc: Usdc
      readonly epoch: number
      readonly balanceUsdc: Usdc
    })
  | (GrantParties & { readonly kind: 'revoked' })
  | (GrantParties & {
      readonly kind: 'reclaimed'
      readonly amountUsdc: Usdc
      /** Of the next grant. */
      readonly epoch: number
      readonly balanceUsdc: Usdc
    })
  /** A provider collected from a grant. */
  | (GrantParties & { readonly kind: 'settled' | 'redeemed' | 'consumed'; readonly usage: Usage })
  /** What a provider got by one settlement (`usageRoot`), or by `consume`. */
  | {
      readonly kind: 'collected'
      readonly provider: Address
      readonly paidUsdc: Usdc
      readonly balanceUsdc: Usdc
      readonly usageRoot: Hex | undefined
    }
  /** The account paid somebody from its wallet by an authorization (x402), or was paid so. */
  | {
      readonly kind: 'transferred'
      readonly from: Address
      readonly to: Address
      readonly amountUsdc: Usdc
    }

export interface AccountScope {
  readonly escrow: Address
  readonly token: Address
  readonly account: Address
  /** Whether every row is wanted that the account collected as a provider. */
  readonly withIncome: boolean
}

const payerNames = [
  'Deposited',
  'Withdrawn',
  'Approved',
  'Revoked',
  'Reclaimed',
  'Settled',
  'Redeemed',
  'RedeemedBySession',
  'Consumed',
  'BatchSettled',
] as const
const incomeNames = ['Settled', 'Redeemed', 'RedeemedBySession', 'Consumed', 'Approved', 'Reclaimed'] as const

const transferSelector = toEventSelector('Transfer(address,address,uint256)')
const usedSelector = toEventSelector('AuthorizationUsed(address,bytes32)')

/**
 * What happened to an account, in the order of the chain, a range of blocks at a time.
 *
 * @throws ProtocolError `chain_unreachable`
 */
export async function* readAccountEvents(
  client: PublicClient,
  scope: AccountScope,
  { fromBlock, toBlock }: { fromBlock: bigint; toBlock: bigint },
  signal: AbortSignal,
): AsyncGenerator<AccountEvent> {
  const span = BigInt(limits.logRangeBlocksMax)
  for (let first = fromBlock; first <= toBlock; first += span) {
    const last = first + span - 1n < toBlock ? first + span - 1n : toBlock
    yield* await readRange(client, scope, { fromBlock: first, toBlock: last }, signal)
  }
}

async function readRange(
  client: PublicClient,
  { escrow, token, account, withIncome }: AccountScope,
  range: { fromBlock: bigint; toBlock: bigint },
  signal: AbortSignal,
): Promise<AccountEvent[]> {
  const who = pad(account)
  const read = (address: Address, topics: LogQuery['topics']): Promise<RpcLog[]> =>
    reachChain(readLogs(client, { address, topics, ...range }), 'read what happened to an account', signal)
  const [own, income, transfers] = await Promise.all([
    read(escrow, [escrowSelectors(payerNames), who]),
    read(escrow, [escrowSelectors(withIncome ? incomeNames : ['Consumed']), null, who]),
    withIncome
      ? read(token, [transferSelector, null, who])
      : read(token, [[transferSelector, usedSelector], who]),
  ])
  const events = [...toEvents(dedupe([...own, ...income]), account), ...toTransfers(transfers, withIncome)]
  return events.sort((a, b) => Number(a.blockNumber - b.blockNumber) || a.logIndex - b.logIndex)
}

/** An account that pays itself is in both answers. */
function dedupe(logs: readonly RpcLog[]): RpcLog[] {
  return [...new Map(logs.map((log) => [`${log.blockNumber}/${log.logIndex}`, log])).values()]
}

function toEvents(logs: readonly RpcLog[], account: Address): AccountEvent[] {
  const parsed = parseEventLogs({ abi: escrowAbi, logs: [...logs], eventName: [...payerNames] })
  return parsed.flatMap((log): AccountEvent[] => {
    const place = placeOf(log)
    switch (log.eventName) {
      case 'Deposited':
      case 'Withdrawn': {
        const kind = log.eventName === 'Deposited' ? 'deposited' : 'withdrawn'
        return [{ ...place, kind, amountUsdc: usdc(log.args.amount), balanceUsdc: usdc(log.args.balance) }]
      }
      case 'Approved': {
        const { payer, provider, signer, budget, spent, epoch, balance } = log.args
        const amounts = { budgetUsdc: usdc(budget), spentUsdc: usdc(spent), balanceUsdc: usdc(balance) }
        return [{ ...place, kind: 'approved', payer, provider, signer, epoch, ...amounts }]
      }
      case 'Revoked': {
        const { payer, provider, signer } = log.args
        return [{ ...place, kind: 'revoked', payer, provider, signer }]
      }
      case 'Reclaimed': {
        const { payer, provider, signer, amount, epoch, balance } = log.args
        const amounts = { amountUsdc: usdc(amount), balanceUsdc: usdc(balance) }
        return [{ ...place, kind: 'reclaimed', payer, provider, signer, epoch, ...amounts }]
      }
      case 'BatchSettled': {
        const { provider, paid, balance, usageRoot } = log.args
        const amounts = { paidUsdc: usdc(paid), balanceUsdc: usdc(balance) }
        return [{ ...place, kind: 'collected', provider, usageRoot, ...amounts }]
      }
      case 'Consumed': {
        const { payer, provider, usage: word, balance } = log.args
        const usage = parseUsage(word)
        const charged: AccountEvent = {
          ...place,
          kind: 'consumed',
          payer,
          provider,
          signer: meteredSigner,
          usage,
        }
        if (provider !== account) return [charged]
        const amounts = { paidUsdc: usage.paidUsdc, balanceUsdc: usdc(balance) }
        return [charged, { ...place, kind: 'collected', provider, usageRoot: undefined, ...amounts }]
      }
      default: {
        const { payer, provider, usage: word } = log.args
        const signer =
          log.eventName === 'Settled' ? meteredSigner : log.eventName === 'Redeemed' ? payer : log.args.signer
        const kind = log.eventName === 'Settled' ? 'settled' : 'redeemed'
        return [{ ...place, kind, payer, provider, signer, usage: parseUsage(word) }]
      }
    }
  })
}

/** A payer's transfers count only behind the use of an authorization; those to a provider its own ledger tells apart. */
function toTransfers(logs: readonly RpcLog[], isIncome: boolean): AccountEvent[] {
  const events = parseEventLogs({
    abi: devUsdcAbi,
    logs: [...logs],
    eventName: ['Transfer', 'AuthorizationUsed'],
  })
  const found: AccountEvent[] = []
  let used: Hash | undefined
  for (const log of events) {
    if (log.eventName === 'AuthorizationUsed') {
      used = log.transactionHash
      continue
    }
    const { from, to, value } = log.args
    if (isIncome || used === log.transactionHash) {
      // Anybody may be richer than 64 bits say; no call costs as much.
      if (value < 2n ** 64n)
        found.push({ ...placeOf(log), kind: 'transferred', from, to, amountUsdc: usdc(value) })
      used = undefined
    }
  }
  return found
}

const placeOf = (log: { blockNumber: bigint; logIndex: number; transactionHash: Hash }): EventPlace => ({
  blockNumber: BigInt(log.blockNumber),
  logIndex: Number(log.logIndex),
  transaction: log.transactionHash,
})
