import type { DatabaseSync } from 'node:sqlite'
import { outcomes } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import { trialSigner } from './lanes.ts'
import type { ChargeRecord } from './records.ts'

/**
 * Keeps receipts within bounds. Those of calls that cost nothing, which strangers can make as many of as they like, are
 * bounded in number, for a payer and in all, and by age. Those of calls that were charged cost somebody something, and are
 * bounded by age alone, once they are settled for good.
 *
 * What no bound touches: a receipt whose charge is not settled yet, one that an `Idempotency-Key` still leads to, and the
 * newest of all, from which the next one is counted. Runs in the journal's thread.
 */
export interface ReceiptPruner {
  /** To be called in the transaction that has written the group. @returns the ids of the receipts that are gone. */
  prune(group: readonly ChargeRecord[]): readonly number[]
}

export interface ReceiptBounds {
  readonly unpaidPerPayerMax: number
  readonly unpaidMax: number
  readonly unpaidAgeMsMax: number
  readonly paidAgeMsMax: number
}

const bounds: ReceiptBounds = {
  unpaidPerPayerMax: limits.unpaidReceiptsPerPayerMax,
  unpaidMax: limits.unpaidReceiptsMax,
  unpaidAgeMsMax: limits.unpaidReceiptAgeMsMax,
  paidAgeMsMax: limits.receiptAgeMsMax,
}

/** Between two looks for what is too old. */
const sweepIntervalMs = 10 * 60_000

export function createReceiptPruner(
  db: DatabaseSync,
  { unpaidPerPayerMax, unpaidMax, unpaidAgeMsMax, paidAgeMsMax }: ReceiptBounds = bounds,
): ReceiptPruner {
  createIndexes(db)
  const { readAccount, dropOfAccount, dropOldest, dropBefore, readPage, dropPaid, dropAccount } = prepare(db)
  const unpaidOf = new Map<number, number>()
  let unpaid = 0
  let sweptAtMs = 0
  /** How far the sweep of old receipts has come; undefined while there is none. */
  let sweptId: number | undefined

  function count(accountId: number, change: 1 | -1): void {
    unpaid += change
    const left = (unpaidOf.get(accountId) ?? 0) + change
    if (left > 0) unpaidOf.set(accountId, left)
    else unpaidOf.delete(accountId)
  }

  let dropped: number[] = []
  /** Accounts of the receipts that are gone. */
  let touched = new Set<number>()

  function forget(rows: readonly Record<string, unknown>[], change: -1 | 0): void {
    for (const row of rows) {
      const accountId = Number(row['account'])
      if (change !== 0) count(accountId, change)
      dropped.push(Number(row['id']))
      touched.add(accountId)
    }
  }

  /** Who pays by x402, or fails, is written down for its receipts only: strangers without number come once. */
  function dropEmptyAccounts(): void {
    for (const accountId of touched) dropAccount.run(accountId)
    touched = new Set()
  }

  function sweep(nowMs: number, newestId: number): void {
    forget(dropBefore.all(nowMs - unpaidAgeMsMax, newestId, limits.receiptsPrunedAtOnceMax), -1)
    const oldestMs = nowMs - paidAgeMsMax
    const rows = readPage.all(sweptId ?? 0, newestId, limits.receiptsPrunedAtOnceMax)
    const first = rows[0]
    const last = rows.at(-1)
    if (!first || !last || Number(first['started_at']) >= oldestMs) {
      sweptId = undefined
      return
    }
    forget(dropPaid.all(Number(first['id']), Number(last['id']), oldestMs), 0)
    sweptId = rows.length < limits.receiptsPrunedAtOnceMax ? undefined : Number(last['id'])
  }

  for (const row of db
    .prepare(`SELECT account, count(*) AS unpaid FROM receipts r WHERE ${isUnpaidRow} GROUP BY account`)
    .all()) {
    unpaidOf.set(Number(row['account']), Number(row['unpaid']))
    unpaid += Number(row['unpaid'])
  }

  return {
    prune(group) {
      dropped = []
      const newest = group.at(-1)
      if (!newest) return dropped
      const { receiptId, receipt } = newest
      const failedBy = group
        .filter(isUnpaid)
        .map((record) => Number(readAccount.get(record.receiptId)?.['account']))
      for (const accountId of failedBy) count(accountId, 1)
      for (const accountId of new Set(failedBy)) {
        const excess = (unpaidOf.get(accountId) ?? 0) - unpaidPerPayerMax
        if (excess > 0) forget(dropOfAccount.all(accountId, receiptId, excess), -1)
      }
      if (unpaid > unpaidMax) forget(dropOldest.all(receiptId, unpaid - unpaidMax), -1)
      if (sweptId !== undefined || receipt.startedAt >= sweptAtMs + sweepIntervalMs) {
        sweptId ??= 0
        sweptAtMs = receipt.startedAt
        sweep(receipt.startedAt, receiptId)
      }
      dropEmptyAccounts()
      return dropped
    },
  }
}

/** Answered calls of a provider that asks nothing, and trial calls, are not meant: they count. */
const isUnpaidRow = `r.price = 0 AND r.outcome NOT IN (${outcomes.answered}, ${outcomes.caller_gone})`

const isUnpaid = ({ receipt: { priceUsdc, outcome } }: ChargeRecord) =>
  priceUsdc === 0n && outcome !== 'answered' && outcome !== 'caller_gone'

/** Indexes of rows that few calls make; a ledger that was made before them gets them when it is opened. */
function createIndexes(db: DatabaseSync): void {
  const isUnpaidHere = isUnpaidRow.replaceAll('r.', '')
  db.exec(`
    CREATE INDEX IF NOT EXISTS receipts_unpaid ON receipts (account) WHERE ${isUnpaidHere};
    CREATE INDEX IF NOT EXISTS receipts_unpaid_by_age ON receipts (started_at) WHERE ${isUnpaidHere};
    CREATE INDEX IF NOT EXISTS answers_by_call ON answers (call_id);
    CREATE INDEX IF NOT EXISTS batch_rows_by_account ON batch_rows (account)`)
}

function prepare(db: DatabaseSync) {
  const isNeeded = 'EXISTS (SELECT 1 FROM answers k WHERE k.call_id = r.call_id)'
  const drop = (choice: string) =>
    db.prepare(
      `DELETE FROM receipts WHERE id IN (
         SELECT r.id FROM receipts r WHERE ${isUnpaidRow} AND NOT ${isNeeded} AND ${choice} LIMIT ?
       ) RETURNING id, account`,
    )
  /** Nothing more will be read of it for a settlement. */
  const isSettled = `CASE
    WHEN r.by_grant = 0 THEN NOT EXISTS (
      SELECT 1 FROM payments p WHERE p.call_id = r.call_id AND p.state NOT IN ('final', 'released'))
    WHEN r.price = 0 AND a.signer <> '${trialSigner}' THEN 1
    ELSE r.id <= a.batched_receipt AND NOT EXISTS (
      SELECT 1 FROM batches b JOIN batch_rows w ON w.batch = b.id
      WHERE b.state NOT IN ('final', 'abandoned')
      AND w.account = r.account AND r.id > w.after_receipt AND r.id <= w.last_receipt)
    END`
  return {
    readAccount: db.prepare('SELECT account FROM receipts WHERE id = ?'),
    dropOfAccount: drop('r.account = ? AND r.id < ? ORDER BY r.id'),
    dropOldest: drop('r.id < ? ORDER BY r.started_at'),
    dropBefore: drop('r.started_at < ? AND r.id < ? ORDER BY r.started_at'),
    readPage: db.prepare('SELECT id, started_at FROM receipts WHERE id > ? AND id < ? ORDER BY id LIMIT ?'),
    dropPaid: db.prepare(
      `DELETE FROM receipts WHERE id IN (
         SELECT r.id FROM receipts r JOIN accounts a ON a.id = r.account
         WHERE r.id BETWEEN ? AND ? AND r.started_at < ? AND NOT (${isUnpaidRow})
         AND NOT ${isNeeded} AND ${isSettled}) RETURNING id, account`,
    ),
    // What was charged stays, however old: later charges come on top of it.
    dropAccount: db.prepare(
      `DELETE FROM accounts WHERE id = ?1 AND charged = 0 AND calls = 0
       AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.account = ?1)
       AND NOT EXISTS (SELECT 1 FROM batch_rows w WHERE w.account = ?1)`,
    ),
  }
}
