import type { Address } from 'viem'
import { settleDeadline } from '../../protocol/grant.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import type { UnsettledAccount } from '../ledger/ledger.ts'
import type { Batch } from '../ledger/records.ts'
import type { SettledBatch } from './settle-batch.ts'

/**
 * Who goes into the next batch: the most urgent first, without those whose money is on its way already and those whom
 * the escrow skipped for reasons that have not changed.
 */
export function chooseDue(
  unsettled: readonly UnsettledAccount[],
  { open, attempts, rowsMax }: { open: readonly Batch[]; attempts: Attempts; rowsMax: number },
): UnsettledAccount[] {
  const underWay = new Map(
    open.flatMap(({ rows }) => rows.map((row) => [row.payer, row.amountUsdc] as const)),
  )
  return unsettled
    .filter(({ payer, amountUsdc }) => amountUsdc > (underWay.get(payer) ?? zeroUsdc))
    .filter((account) => !attempts.isHopeless(account))
    .sort((a, b) => settleDeadline(a.grant) - settleDeadline(b.grant))
    .slice(0, rowsMax)
}

/** What was tried: a row that was skipped is not sent again until its payer's grant or debt is another. */
export interface Attempts {
  begin(accounts: readonly UnsettledAccount[]): void
  note(batch: SettledBatch): void
  isHopeless(account: UnsettledAccount): boolean
}

export function createAttempts(): Attempts {
  const tried = new Map<Address, UnsettledAccount>()
  const skipped = new Set<Address>()
  return {
    begin(accounts) {
      for (const account of accounts) tried.set(account.payer, account)
    },
    note({ rows, skipped: skippedNow }) {
      for (const { payer } of rows) {
        if (skippedNow.includes(payer)) skipped.add(payer)
        else {
          skipped.delete(payer)
          tried.delete(payer)
        }
      }
    },
    isHopeless({ payer, amountUsdc, grant }) {
      const before = tried.get(payer)
      return skipped.has(payer) && before?.grant === grant && before.amountUsdc === amountUsdc
    },
  }
}
