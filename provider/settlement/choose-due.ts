import { settleDeadline } from '../../protocol/grant.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { claimable } from '../ledger/batches.ts'
import { isMetered, laneKey, laneOf, meteredLane, trialLane } from '../ledger/lanes.ts'
import type { UncountedTrials, UnsettledAccount } from '../ledger/ledger.ts'
import type { Batch, BatchRow } from '../ledger/records.ts'
import type { SettledBatch } from './settle-batch.ts'

/**
 * Who goes into the next batch: the most urgent first, without those whose money is on its way already and those whom
 * the escrow skipped for reasons that have not changed. Metered use and vouchers never share a batch: the escrow collects
 * them by two functions.
 */
export function chooseDue(
  unsettled: readonly UnsettledAccount[],
  { open, attempts, rowsMax }: { open: readonly Batch[]; attempts: Attempts; rowsMax: number },
): UnsettledAccount[] {
  const underWay = new Map(
    open.flatMap(({ rows }) => rows.map((row) => [rowKey(row), row.amountUsdc] as const)),
  )
  const due = unsettled
    .filter((account) => collectable(account) > (underWay.get(laneKey(account)) ?? zeroUsdc))
    .filter((account) => !attempts.isHopeless(account))
    .sort((a, b) => settleDeadline(a.grant) - settleDeadline(b.grant))
  const [first] = due
  return first ? due.filter((account) => isMetered(account) === isMetered(first)).slice(0, rowsMax) : []
}

/** What the escrow would pay of it now; the rest waits for another grant, or for a higher voucher. */
const collectable = ({ grant, voucher, ...owed }: UnsettledAccount): Usdc =>
  claimable(owed, { ...grant, voucher })?.amountUsdc ?? zeroUsdc

/** The same for trial calls, which are counted by a third function of the escrow. */
export function chooseUncounted(
  uncounted: readonly UncountedTrials[],
  { open, attempts, rowsMax }: { open: readonly Batch[]; attempts: Attempts; rowsMax: number },
): UncountedTrials[] {
  const underWay = new Map(open.flatMap(({ rows }) => rows.map((row) => [rowKey(row), row.calls] as const)))
  return uncounted
    .filter((trials) => Math.min(trials.calls, trials.credits.granted) > (underWay.get(laneKey(trials)) ?? 0))
    .filter((trials) => !attempts.isHopeless(trials))
    .slice(0, rowsMax)
}

const rowKey = ({ payer, voucher, isTrial }: BatchRow) =>
  laneKey(voucher ? laneOf(voucher) : isTrial ? trialLane(payer) : meteredLane(payer))

/** What goes into a batch. */
export type Due = UnsettledAccount | UncountedTrials

function isSameAs(a: Due, b: Due): boolean {
  if ('credits' in a) return 'credits' in b && a.credits === b.credits && a.calls === b.calls
  if ('credits' in b) return false
  return a.grant === b.grant && a.amountUsdc === b.amountUsdc && a.voucher === b.voucher
}

/**
 * What was tried: a row that was skipped is not sent again until its grant, its voucher, its credits or its debt is
 * another.
 */
export interface Attempts {
  begin(accounts: readonly Due[]): void
  note(batch: SettledBatch): void
  isHopeless(account: Due): boolean
}

export function createAttempts(): Attempts {
  const tried = new Map<string, Due>()
  const skipped = new Set<string>()
  return {
    begin(accounts) {
      for (const account of accounts) tried.set(laneKey(account), account)
    },
    note({ rows, skippedRows }) {
      for (const [index, row] of rows.entries()) {
        const key = rowKey(row)
        if (skippedRows.has(index)) skipped.add(key)
        else {
          skipped.delete(key)
          tried.delete(key)
        }
      }
    },
    isHopeless(account) {
      const key = laneKey(account)
      const before = tried.get(key)
      return skipped.has(key) && before !== undefined && isSameAs(before, account)
    },
  }
}
