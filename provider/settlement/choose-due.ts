import { settleDeadline } from '../../protocol/grant.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import { isMetered, laneKey, laneOf, meteredLane } from '../ledger/lanes.ts'
import type { UnsettledAccount } from '../ledger/ledger.ts'
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
    .filter((account) => account.amountUsdc > (underWay.get(laneKey(account)) ?? zeroUsdc))
    .filter((account) => !attempts.isHopeless(account))
    .sort((a, b) => settleDeadline(a.grant) - settleDeadline(b.grant))
  const [first] = due
  return first ? due.filter((account) => isMetered(account) === isMetered(first)).slice(0, rowsMax) : []
}

const rowKey = ({ payer, voucher }: BatchRow) => laneKey(voucher ? laneOf(voucher) : meteredLane(payer))

/** What was tried: a row that was skipped is not sent again until its grant, its voucher or its debt is another. */
export interface Attempts {
  begin(accounts: readonly UnsettledAccount[]): void
  note(batch: SettledBatch): void
  isHopeless(account: UnsettledAccount): boolean
}

export function createAttempts(): Attempts {
  const tried = new Map<string, UnsettledAccount>()
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
      const { amountUsdc, grant, voucher } = account
      const key = laneKey(account)
      const before = tried.get(key)
      const isSame = before?.grant === grant && before.amountUsdc === amountUsdc && before.voucher === voucher
      return skipped.has(key) && isSame
    },
  }
}
