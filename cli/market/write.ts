import type { Address, Hash, Hex, LocalAccount } from 'viem'
import { formatUnits } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import type { CommandContext } from '../command.ts'
import type { Facts } from '../terminal.ts'
import { type Chains, connectWallet } from './chain.ts'
import { explainChainError } from './chain-error.ts'
import type { MarketPlace } from './market.ts'
import type { WriteFlags } from './options.ts'

/** One transaction. */
export interface Step {
  /** What it does, as in `deposit 5 USDC`. */
  readonly label: string
  /** Absent where it makes a contract. */
  readonly to?: Address
  readonly data: Hex
}

/** What a command is about to do, for a person to judge. */
export interface Plan {
  readonly title: string
  /** Names and values, one a line. */
  readonly lines: readonly (readonly [string, string])[]
  readonly facts: Facts
  readonly steps: readonly Step[]
}

export interface Written {
  readonly transactions: readonly Hash[]
  /** The contract that the last step made, if it made one. */
  readonly contract: Address | undefined
}

/** Who writes where. */
export interface Writer {
  readonly market: MarketPlace
  readonly client: Chains
  readonly account: LocalAccount
}

/**
 * Shows a plan, asks, and does it step by step; each is tried before it is sent, and waited for.
 *
 * @returns undefined under `--dry-run`, when the plan itself was the answer.
 * @throws ProtocolError `not_confirmed`, `transaction_failed`, `balance_too_low` and what the contracts refuse
 */
export async function carryOut(
  plan: Plan,
  { writer, flags }: { writer: Writer; flags: WriteFlags },
  context: CommandContext,
): Promise<Written | undefined> {
  const text = formatPlan(plan, writer)
  const [first] = plan.steps
  if (first) await tryStep(first, writer, context.signal)
  if (flags['dry-run']) {
    const steps = plan.steps.map(({ label }) => label)
    context.print(`${text}\nNothing was done (--dry-run).`, { dryRun: true, ...plan.facts, steps })
    return undefined
  }
  context.note(text)
  if (!flags.yes) await context.confirm('Go ahead?')
  const transactions: Hash[] = []
  let contract: Address | undefined
  for (const step of plan.steps) {
    const sent = await sendStep(step, writer, context)
    transactions.push(sent.hash)
    contract = sent.contract
  }
  return { transactions, contract }
}

function formatPlan({ title, lines, steps }: Plan, { market, account }: Writer): string {
  const rows = [
    ...lines,
    ['account', account.address] as const,
    ['chain', `${market.chainId} at ${market.rpc.origin}`] as const,
    ['transactions', steps.map(({ label }) => label).join(', then ')] as const,
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return [`${title}:`, ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)].join('\n')
}

/** Runs a step without sending it: what the contract would refuse costs no gas, and is known before anybody is asked. */
async function tryStep(step: Step, { client, account }: Writer, signal: AbortSignal): Promise<void> {
  const to = step.to === undefined ? {} : { to: step.to }
  await client.call({ account, data: step.data, ...to }).catch((error: unknown) => {
    signal.throwIfAborted()
    throw explainChainError(error, step.label)
  })
}

async function sendStep(
  step: Step,
  writer: Writer,
  { note, signal }: CommandContext,
): Promise<{ hash: Hash; contract: Address | undefined }> {
  signal.throwIfAborted()
  const { client, market, account } = writer
  const fail = (error: unknown) => {
    throw explainChainError(error, step.label)
  }
  const to = step.to === undefined ? {} : { to: step.to }
  const hash = await connectWallet(market, account)
    .sendTransaction({ data: step.data, ...to })
    .catch(fail)
  note(`Sent: ${step.label} (${hash})`)
  const receipt = await client
    .waitForTransactionReceipt({ hash, timeout: 180_000 })
    .catch((cause: unknown) => {
      throw new ProtocolError('transaction_failed', `It is not known yet what became of "${step.label}".`, {
        hint: `Look for the transaction ${hash} before you try again: it may still be mined.`,
        details: { transaction: hash },
        cause,
      })
    })
  if (receipt.status === 'success') return { hash, contract: receipt.contractAddress ?? undefined }
  throw new ProtocolError('transaction_failed', `The chain undid "${step.label}".`, {
    hint: `${formatUnits(receipt.gasUsed * receipt.effectiveGasPrice, 18)} ETH went into gas; run it again to see why.`,
    details: { transaction: hash },
  })
}
