import type { Address } from 'viem'
import type { Outcome } from './call.ts'
import type { ProvenReceipt } from './receipt-evidence.ts'
import type { CountedPayer } from './reputation.ts'
import { zeroUsdc } from './usdc.ts'

/** What receipts add to what the chain says: see docs/reputation.md for what they cannot show. */
export interface ReceiptTally {
  /** Calls that were charged, answered, and are under a usage root. */
  readonly answered: number
  /** The provider's own faults. Nobody pays for them, so the chain does not know them. */
  readonly failures: number
  readonly timeouts: number
  /** Other faults of programs. */
  readonly programFaults: number
  /** Answers that a majority of other providers did not give. */
  readonly outvoted: number
  /** Σ c·failures ÷ (calls + failures) ÷ Σ c, over payers that count: in thousandths, rounded down. */
  readonly failureShareMilli: bigint
  /** Of the answered, by the provider's clock: nearest rank. */
  readonly latency: { readonly medianMs: number | null; readonly p95Ms: number | null }
  readonly unused: UnusedReceipts
}

/** Receipts that are the provider's, and say nothing here. */
export interface UnusedReceipts {
  /** Of payers that do not count. */
  readonly payerExcluded: number
  /** Charged, and under no usage root yet; or paid by x402. */
  readonly unsettled: number
  /** More than the chain says that their payer was charged for: only the provider can have made them up. */
  readonly surplus: number
  /** Answered for nothing. */
  readonly trial: number
}

/** Adds receipts up, in an order that follows from what they say. */
export function tallyReceipts(
  payers: ReadonlyMap<Address, CountedPayer>,
  receipts: readonly ProvenReceipt[],
): ReceiptTally {
  const kinds = { answered: 0, failure: 0, timeout: 0, program_fault: 0, outvoted: 0 }
  const unused = { payerExcluded: 0, unsettled: 0, surplus: 0, trial: 0 }
  const charged = new Map<Address, number>()
  const failed = new Map<Address, number>()
  const durations: number[] = []
  const increment = (counts: Map<Address, number>, payer: Address) => {
    const count = (counts.get(payer) ?? 0) + 1
    counts.set(payer, count)
    return count
  }
  for (const { receipt, isRooted } of [...receipts].sort(byStart)) {
    const { payer, outcome, priceUsdc, durationMs } = receipt
    const counted = payers.get(payer)
    const kind = kindOf(outcome)
    if (!counted) unused.payerExcluded += 1
    else if (priceUsdc === zeroUsdc && kind === 'answered') unused.trial += 1
    else if (priceUsdc > zeroUsdc && !isRooted) unused.unsettled += 1
    else if (priceUsdc > zeroUsdc && increment(charged, payer) > counted.calls) unused.surplus += 1
    else {
      kinds[kind] += 1
      if (kind === 'failure') increment(failed, payer)
      if (kind === 'answered') durations.push(durationMs)
    }
  }
  durations.sort((a, b) => a - b)
  return {
    answered: kinds.answered,
    failures: kinds.failure,
    timeouts: kinds.timeout,
    programFaults: kinds.program_fault,
    outvoted: kinds.outvoted,
    failureShareMilli: shareOfFailures(payers, failed),
    latency: { medianMs: rankOf(durations, 50), p95Ms: rankOf(durations, 95) },
    unused,
  }
}

/** Who made calls fail that it paid little beside moves this little, however many they were. */
function shareOfFailures(
  payers: ReadonlyMap<Address, CountedPayer>,
  failed: ReadonlyMap<Address, number>,
): bigint {
  let [weighed, total] = [0n, 0n]
  for (const [payer, { counted, calls }] of payers) {
    const failures = failed.get(payer) ?? 0
    total += counted * 1000n
    if (failures > 0) weighed += (counted * 1_000_000n * BigInt(failures)) / BigInt(calls + failures)
  }
  return total === 0n ? 0n : weighed / total
}

function kindOf(outcome: Outcome): 'answered' | 'failure' | 'timeout' | 'program_fault' | 'outvoted' {
  // Who leaves before the end has been answered so far.
  if (outcome === 'answered' || outcome === 'caller_gone') return 'answered'
  if (outcome === 'platform_fault') return 'failure'
  if (outcome === 'program_timeout') return 'timeout'
  return outcome === 'outvoted' ? 'outvoted' : 'program_fault'
}

/** Which of too many are left out does not depend on who counts. */
const byStart = (a: ProvenReceipt, b: ProvenReceipt): number =>
  a.receipt.startedAt - b.receipt.startedAt || (a.leaf < b.leaf ? -1 : 1)

/** The smallest that at least `percent` of them do not exceed. */
function rankOf(sorted: readonly number[], percent: number): number | null {
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? null
}
