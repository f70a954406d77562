import type { Hash, LocalAccount, PublicClient } from 'viem'
import { createLog } from '../../protocol/base/log.ts'
import type { ChainCall } from '../../protocol/chain/calls.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { createMemoryTransactionStore } from '../../protocol/chain/transaction-record.ts'
import { createTransactionSender, type TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { isDevChain } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { CommandContext } from '../command.ts'
import type { Facts } from '../terminal.ts'
import type { MarketPlace } from './market.ts'
import type { WriteFlags } from './options.ts'

/** What a command is about to do, for a person to judge. */
export interface Plan {
  readonly title: string
  /** Names and values, one a line. */
  readonly lines: readonly (readonly [string, string])[]
  readonly facts: Facts
  /** One after the other. */
  readonly calls: readonly ChainCall[]
}

/** Who writes on which chain, whether there is a market on it or not. */
export interface ChainWriter {
  readonly market: Pick<MarketPlace, 'chainId' | 'rpc'>
  readonly client: PublicClient
  readonly account: LocalAccount
}

/** Who writes in which market. */
export interface Writer extends ChainWriter {
  readonly market: MarketPlace
}

/**
 * Shows a plan, asks, and does it call by call; each is tried before it is sent, and waited for.
 *
 * @returns the hashes of the transactions, or undefined under `--dry-run`, when the plan itself was the answer.
 * @throws ProtocolError `not_confirmed`, `transaction_failed`, `balance_too_low` and what the contracts refuse
 */
export async function carryOut(
  plan: Plan,
  { writer, flags }: { writer: ChainWriter; flags: WriteFlags },
  context: CommandContext,
): Promise<readonly Hash[] | undefined> {
  const text = formatPlan(plan, writer)
  const [first] = plan.calls
  if (first) await tryCall(first, writer, context.signal)
  if (flags['dry-run']) {
    const steps = plan.calls.map(({ label }) => label)
    context.print(`${text}\nNothing was done (--dry-run).`, { dryRun: true, ...plan.facts, steps })
    return undefined
  }
  context.note(text)
  if (!flags.yes) await context.confirm('Go ahead?')
  const sender = openSender(writer, context)
  const transactions: Hash[] = []
  for (const call of plan.calls) transactions.push(await sendCall(call, sender, context))
  return transactions
}

function formatPlan({ title, lines, calls }: Plan, { market, account }: ChainWriter): string {
  const rows = [
    ...lines,
    ['account', account.address] as const,
    ['chain', `${market.chainId} at ${market.rpc.origin}`] as const,
    ...calls.map(({ label }, index) => [index === 0 ? 'transactions' : '', label] as const),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return [`${title}:`, ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)].join('\n')
}

/** Runs a call without sending it: what the contract would refuse is known before anybody is asked. */
async function tryCall(
  { to, data, label }: ChainCall,
  { client, account }: ChainWriter,
  signal: AbortSignal,
): Promise<void> {
  await reachChain(client.call({ account, data, ...(to && { to }) }), label, signal)
}

/** A command lives as long as its transactions, so nothing needs to outlive it; the hash is told before the wait. */
export function openSender(
  { market, client, account }: ChainWriter,
  { clock }: CommandContext,
): TransactionSender {
  return createTransactionSender(
    { client, clock, log: createLog({ level: 'silent' }), store: createMemoryTransactionStore() },
    { account, chainId: market.chainId, open: [], pollIntervalMs: isDevChain(market) ? 50 : 2_000 },
  )
}

async function sendCall(call: ChainCall, sender: TransactionSender, context: CommandContext): Promise<Hash> {
  const record = await sender.send(call, { purpose: call.label }, context.signal)
  const { hash } = record
  context.note(`Sent: ${call.label} (${hash})`)
  const fate = await sender.wait(record, context.signal)
  if (fate.kind === 'mined') return fate.receipt.transactionHash
  throw new ProtocolError('transaction_failed', `The transaction "${call.label}" was ${fate.kind}.`, {
    hint: 'Something changed at the same time: look at the state, and try again.',
    details: { transaction: hash },
  })
}
