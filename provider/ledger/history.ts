import type { DatabaseSync } from 'node:sqlite'
import type { Address, Hash, Hex } from 'viem'
import { meteredSigner } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import type { ChargedReceipt, LaneTotal, PassSpending } from '../../protocol/statement.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { addressOf, bytesOf, hexOf, integerOf, usdcOf } from './columns.ts'
import type { BatchState, LedgerIdentity } from './records.ts'
import { bigIntStatement } from './statements.ts'
import { receiptOf } from './store.ts'

/** What was charged, for statements: a page at a time, each in a millisecond or two. Runs in the journal's thread. */
export interface History {
  knowsPayer(payer: Address): boolean
  /** The payer's lanes, oldest first. @param after - The last one of the page before; 0 for the first page. */
  readLanes(at: { readonly payer: Address; readonly after: number }): LaneTotal[]
  /** All lanes of all payers, oldest first, a page after the lane `after`. */
  readAllLanes(at: { readonly after: number }): PayerLane[]
  /** The receipts of one lane in the order of charging, which is that of their totals. */
  readLaneReceipts(at: {
    readonly payer: Address
    readonly lane: number
    readonly after: number
  }): ChargedReceipt[]
  /** The receipts that took a lane's total from `fromUsdc` to `toUsdc`, the first and the last perhaps in part. */
  readChargesBetween(at: ChargeRange): ChargedReceipt[]
  /** What was spent with each pass, the revoked ones among them, by id. */
  readPasses(at: { readonly payer: Address; readonly after: Hex | undefined }): PassSpending[]
  /** The settlement that a transaction made, as far as this ledger knows it. */
  findBatch(transaction: Hash): BatchSummary | undefined
  /** The call that a transaction paid by x402. */
  findPaidCall(transaction: Hash): PaidCall | undefined
  /** All that was ever paid by x402. */
  sumPayments(): { readonly payments: number; readonly amountUsdc: Usdc }
}

export interface ChargeRange {
  readonly payer: Address
  readonly signer: Address
  /** 0 for metered use. */
  readonly epoch: number
  readonly fromUsdc: Usdc
  readonly toUsdc: Usdc
  /** The last receipt of the page before; 0 for the first page. */
  readonly after: number
}

/** A lane with whose it is. */
export interface PayerLane extends LaneTotal {
  readonly payer: Address
}

export interface BatchSummary {
  readonly id: number
  readonly state: BatchState
  readonly usageRoot: Hex
  readonly receipts: number
}

export interface PaidCall {
  readonly callId: Hex
  readonly payer: Address
  readonly amountUsdc: Usdc
}

const page = limits.statementPageEntriesMax

export function createHistory(db: DatabaseSync, { provider }: LedgerIdentity): History {
  const anyAccount = db.prepare('SELECT 1 FROM accounts WHERE payer = ? LIMIT 1')
  const lanes = bigIntStatement(
    db,
    `SELECT id, signer, epoch, charged, calls FROM accounts
     WHERE payer = ? AND id > ? ORDER BY id LIMIT ${page}`,
  )
  const allLanes = bigIntStatement(
    db,
    `SELECT id, payer, signer, epoch, charged, calls FROM accounts WHERE id > ? ORDER BY id LIMIT ${page}`,
  )
  const receiptColumns = `r.*, p.nonce AS payment_nonce, p.tx AS payment_tx, p.state AS payment_state
    FROM receipts r LEFT JOIN payments p ON r.by_grant = 0 AND p.call_id = r.call_id`
  const laneReceipts = bigIntStatement(
    db,
    `SELECT ${receiptColumns} WHERE r.account = (SELECT id FROM accounts WHERE id = ? AND payer = ?)
     AND r.id > ? ORDER BY r.id LIMIT ${page}`,
  )
  const laneOf = db.prepare('SELECT id FROM accounts WHERE payer = ? AND signer = ? AND epoch = ?')
  const chargesAfter = bigIntStatement(
    db,
    `SELECT ${receiptColumns} WHERE r.account = ? AND r.id > ? AND r.charged - r.price < ?
     AND r.price <> 0 AND r.by_grant = 1 ORDER BY r.id LIMIT ${page}`,
  )
  const lastReceipt = db.prepare('SELECT ifnull(max(id), 0) AS id FROM receipts WHERE account = ?')
  const receiptFrom = bigIntStatement(
    db,
    'SELECT id, charged FROM receipts WHERE account = ? AND id >= ? ORDER BY id LIMIT 1',
  )
  const passes = bigIntStatement(
    db,
    `SELECT id, max(charged) AS charged, max(valid_before) AS valid_before, max(revoked) AS revoked FROM (
       SELECT * FROM (SELECT id, charged, valid_before, 0 AS revoked FROM passes
         WHERE payer = ?1 AND id > ?2 ORDER BY id LIMIT ${page})
       UNION ALL
       SELECT * FROM (SELECT id, 0 AS charged, valid_before, 1 AS revoked FROM revoked_passes
         WHERE payer = ?1 AND id > ?2 ORDER BY id LIMIT ${page})
     ) GROUP BY id ORDER BY id LIMIT ${page}`,
  )
  const batchOf = db.prepare(
    `SELECT b.id, b.state, b.usage_root, b.receipts FROM transactions t
     JOIN batches b ON t.purpose = 'settle:' || b.id WHERE t.hash = ?`,
  )
  const paidCall = bigIntStatement(
    db,
    "SELECT call_id, payer, amount FROM payments WHERE tx = ? AND state IN ('mined', 'final') LIMIT 1",
  )
  const paymentAmounts = bigIntStatement(db, "SELECT amount FROM payments WHERE state IN ('mined', 'final')")

  /** The last receipt of an account whose total is not above `usdc`: totals only grow, so halving finds it. */
  function findBefore(accountId: number, amountUsdc: Usdc): number {
    let low = 0
    let high = Number(lastReceipt.get(accountId)?.['id'])
    const amount = integerOf(amountUsdc)
    while (low < high) {
      const middle = low + Math.ceil((high - low) / 2)
      const row = receiptFrom.get(accountId, middle)
      if (row && (row['charged'] as bigint) <= amount) low = Math.max(middle, Number(row['id']))
      else high = middle - 1
    }
    return low
  }

  const toCharged = (row: Record<string, unknown>, payer: Address): ChargedReceipt => ({
    id: Number(row['id']),
    receipt: receiptOf(row, { payer, provider }),
    chargedUsdc: usdcOf(row['charged']),
    payment:
      row['by_grant'] === 1n || row['payment_nonce'] === null
        ? undefined
        : {
            nonce: hexOf(row['payment_nonce']),
            // What a re-org took away, and its payer could not pay again, is on no chain.
            transaction:
              row['payment_tx'] === null || row['payment_state'] === 'released'
                ? undefined
                : hexOf(row['payment_tx']),
          },
  })

  const toLane = (row: Record<string, unknown>): LaneTotal => ({
    lane: Number(row['id']),
    signer: addressOf(row['signer']),
    epoch: Number(row['epoch']),
    chargedUsdc: usdcOf(row['charged']),
    calls: Number(row['calls']),
  })

  return {
    knowsPayer: (payer) => anyAccount.get(payer) !== undefined,
    readLanes: ({ payer, after }) => lanes.all(payer, after).map(toLane),
    readAllLanes: ({ after }) =>
      allLanes.all(after).map((row) => ({ ...toLane(row), payer: addressOf(row['payer']) })),
    readLaneReceipts: ({ payer, lane, after }) =>
      laneReceipts.all(lane, payer, after).map((row) => toCharged(row, payer)),
    readChargesBetween({ payer, signer, epoch, fromUsdc, toUsdc, after }) {
      const account = laneOf.get(payer, signer, signer === meteredSigner ? 0 : epoch)
      if (!account || toUsdc <= fromUsdc) return []
      const accountId = Number(account['id'])
      const from = after === 0 ? findBefore(accountId, fromUsdc) : after
      return chargesAfter.all(accountId, from, integerOf(toUsdc)).map((row) => toCharged(row, payer))
    },
    readPasses: ({ payer, after }) =>
      passes.all(payer, after === undefined ? new Uint8Array() : bytesOf(after)).map((row) => ({
        id: hexOf(row['id']),
        spentUsdc: usdcOf(row['charged']),
        validBefore: Number(row['valid_before']),
        isRevoked: row['revoked'] === 1n,
      })),
    findBatch(transaction) {
      const row = batchOf.get(bytesOf(transaction))
      return (
        row && {
          id: Number(row['id']),
          state: row['state'] as BatchState,
          usageRoot: hexOf(row['usage_root']),
          receipts: Number(row['receipts']),
        }
      )
    },
    findPaidCall(transaction) {
      const row = paidCall.get(bytesOf(transaction))
      return (
        row && {
          callId: hexOf(row['call_id']),
          payer: addressOf(row['payer']),
          amountUsdc: usdcOf(row['amount']),
        }
      )
    },
    sumPayments() {
      let [payments, sum] = [0, 0n]
      for (const row of paymentAmounts.iterate()) {
        payments += 1
        sum += usdcOf(row['amount'])
      }
      return { payments, amountUsdc: (sum === 0n ? zeroUsdc : sum) as Usdc }
    },
  }
}
