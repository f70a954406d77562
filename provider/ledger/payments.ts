import type { DatabaseSync } from 'node:sqlite'
import type { Hash, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { Authorization } from '../../protocol/x402.ts'
import { addressOf, bytesOf, hexOf, integerOf, usdcOf } from './columns.ts'
import type {
  PaymentEnding,
  PaymentId,
  PaymentKey,
  PaymentOrder,
  PaymentPlace,
  PaymentRecord,
  PaymentState,
  StoredAnswer,
} from './records.ts'
import { bigIntStatement, inTransaction } from './statements.ts'

/**
 * x402 payments. An authorization is in here before its program runs, and what was executed is settled in the end, by
 * this process or by the next. Runs in the journal's thread.
 */
export interface PaymentTable {
  /** @returns whether it is the first call of this authorization; else nothing is written */
  reserve(order: PaymentOrder & { readonly nowMs: number }): boolean
  /** Forgets a payment whose program never ran. */
  cancel(id: PaymentId): void
  /** The program has answered: from now on the money is due. */
  execute(executed: ExecutedPayment): void
  /** A transaction that takes the money is on its way. */
  submit(id: PaymentId, transaction: Hash): void
  /** What became of a payment whose call is in the books already. */
  conclude(id: PaymentId, ending: PaymentEnding): void
  /** Mined payments whose block is this one or an older one, a page of them. */
  readMined(blockNumber: bigint): PaymentRecord[]
  /** Where a mined payment was found when it was looked for again; where it is in no block it is still to be settled. */
  placeMined(id: PaymentId, place: PaymentPlace): void
  find(id: PaymentId): PaymentRecord | undefined
  findByCall(callId: Hex): PaymentRecord | undefined
  /**
   * What an earlier process left: calls of which nobody knows how far they got are released, those that were executed
   * are still to be settled.
   */
  recover(): PaymentRecord[]
}

export interface ExecutedPayment {
  readonly id: PaymentId
  readonly receipt: Receipt
  /** Set where the call has an `Idempotency-Key` as well. */
  readonly key: PaymentKey | undefined
  /** Absent where it was too large to keep. */
  readonly answer: StoredAnswer | undefined
  readonly nowMs: number
}

export function createPaymentTable(db: DatabaseSync): PaymentTable {
  const insert = db.prepare(
    `INSERT OR IGNORE INTO payments (payer, nonce, state, is_booked, call_id, payee, amount, valid_after, valid_before,
       signature, deployment, request_digest, from_block, updated_at_ms)
     VALUES (?, ?, 'reserved', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const cancel = db.prepare("DELETE FROM payments WHERE payer = ? AND nonce = ? AND state = 'reserved'")
  const execute = db.prepare(
    `UPDATE payments SET state = 'executed', receipt = ?, key = ?, status = ?, headers = ?, body = ?, updated_at_ms = ?
     WHERE payer = ? AND nonce = ? AND state = 'reserved'`,
  )
  const submit = db.prepare(
    "UPDATE payments SET state = 'submitted', tx = ? WHERE payer = ? AND nonce = ? AND state IN ('executed', 'submitted')",
  )
  const mined = bigIntStatement(
    db,
    "SELECT * FROM payments WHERE state = 'mined' AND block_number <= ? ORDER BY id LIMIT 64",
  )
  const place = db.prepare(
    "UPDATE payments SET state = ?, block_number = ? WHERE payer = ? AND nonce = ? AND state = 'mined'",
  )
  const byId = bigIntStatement(db, 'SELECT * FROM payments WHERE payer = ? AND nonce = ?')
  const byCall = bigIntStatement(db, 'SELECT * FROM payments WHERE call_id = ?')
  const room = createAnswerRoom(db)

  return {
    reserve({ callId, authorization, signature, deployment, requestDigest, fromBlock, nowMs }) {
      const { from, to, nonce, valueUsdc, validAfter, validBefore } = authorization
      return inTransaction(db, () => {
        room.sweep(nowMs)
        const { changes } = insert.run(
          from,
          bytesOf(nonce),
          bytesOf(callId),
          to,
          integerOf(valueUsdc),
          validAfter,
          validBefore,
          bytesOf(signature),
          bytesOf(deployment),
          bytesOf(requestDigest),
          fromBlock,
          nowMs,
        )
        return changes === 1
      })
    },

    cancel({ payer, nonce }) {
      inTransaction(db, () => cancel.run(payer, bytesOf(nonce)))
    },

    execute({ id, receipt, key, answer: given, nowMs }) {
      const answer = given && room.take(given.body.byteLength) ? given : undefined
      const { changes } = inTransaction(db, () =>
        execute.run(
          writeReceipt(receipt),
          key ? JSON.stringify(key) : null,
          answer ? answer.status : null,
          answer ? JSON.stringify(answer.rawHeaders) : null,
          answer ? answer.body : null,
          nowMs,
          id.payer,
          bytesOf(id.nonce),
        ),
      )
      assert(changes === 1, 'only what was reserved is executed')
    },

    submit({ payer, nonce }, transaction) {
      inTransaction(db, () => submit.run(bytesOf(transaction), payer, bytesOf(nonce)))
    },

    conclude: (id, ending) => inTransaction(db, () => writeEnding(db, id, ending)),

    readMined: (blockNumber) => mined.all(blockNumber).map(recordOf),

    placeMined({ payer, nonce }, found) {
      const state = found ? (found.isFinal ? 'final' : 'mined') : 'submitted'
      const blockNumber = found && !found.isFinal ? found.blockNumber : null
      inTransaction(db, () => place.run(state, blockNumber, payer, bytesOf(nonce)))
    },

    find({ payer, nonce }) {
      const row = byId.get(payer, bytesOf(nonce))
      return row && recordOf(row)
    },

    findByCall(callId) {
      const row = byCall.get(bytesOf(callId))
      return row && recordOf(row)
    },

    recover: () =>
      inTransaction(db, () => {
        db.exec("UPDATE payments SET state = 'released', reason = 'interrupted' WHERE state = 'reserved'")
        const open = "SELECT * FROM payments WHERE state IN ('executed', 'submitted') ORDER BY updated_at_ms"
        return bigIntStatement(db, open).all().map(recordOf)
      }),
  }
}

/** Part of the commit of a group of receipts: the receipt and what became of its payment are one. */
export function createPaymentBooker(
  db: DatabaseSync,
): (payment: { readonly id: PaymentId; readonly ending: PaymentEnding | undefined }) => void {
  const mark = db.prepare('UPDATE payments SET is_booked = 1 WHERE payer = ? AND nonce = ?')
  return ({ id, ending }) => {
    mark.run(id.payer, bytesOf(id.nonce))
    if (ending) writeEnding(db, id, ending)
  }
}

function writeEnding(db: DatabaseSync, { payer, nonce }: PaymentId, ending: PaymentEnding) {
  const [transaction, blockNumber, reason] =
    ending.state === 'mined'
      ? [bytesOf(ending.transaction), ending.blockNumber, null]
      : [null, null, ending.reason]
  db.prepare(
    `UPDATE payments SET state = ?, tx = ifnull(?, tx), block_number = ?, reason = ?
     WHERE payer = ? AND nonce = ? AND state NOT IN ('mined', 'final', 'released')`,
  ).run(ending.state, transaction, blockNumber, reason, payer, bytesOf(nonce))
}

/**
 * Keeps answers within their space and their age. Once an hour it forgets what nobody will ask for again: answers after a
 * day, with all of a final payment but who paid what by which transaction; and payments that moved nothing once their
 * authorization has ended for long.
 */
function createAnswerRoom(db: DatabaseSync) {
  const intervalMs = limits.idempotentAnswerAgeMsMax / 24
  const readBytes = () =>
    Number(
      db
        .prepare('SELECT ifnull(sum(length(body)), 0) AS bytes FROM payments WHERE receipt IS NOT NULL')
        .get()?.['bytes'],
    )
  let bytes = readBytes()
  let sweptAtMs = 0
  return {
    /** @returns whether there is room. */
    take(answerBytes: number): boolean {
      if (bytes + answerBytes > limits.idempotentAnswersBytesMax) return false
      bytes += answerBytes
      return true
    },
    sweep(nowMs: number): void {
      if (nowMs < sweptAtMs + intervalMs) return
      sweptAtMs = nowMs
      const oldestMs = nowMs - limits.idempotentAnswerAgeMsMax
      db.prepare(
        `UPDATE payments SET receipt = NULL, key = NULL, signature = x'', status = NULL, headers = NULL, body = NULL
         WHERE state = 'final' AND receipt IS NOT NULL AND updated_at_ms < ?`,
      ).run(oldestMs)
      db.prepare("DELETE FROM payments WHERE state = 'released' AND valid_before < ?").run(
        Math.floor(oldestMs / 1000),
      )
      bytes = readBytes()
    },
  }
}

/** JSON for the ledger itself; amounts as decimal strings. */
function writeReceipt({ priceUsdc, ...receipt }: Receipt): string {
  return JSON.stringify({ ...receipt, priceUsdc: priceUsdc.toString() })
}

function readReceipt(text: string): Receipt {
  const { priceUsdc, ...receipt } = JSON.parse(text)
  return { ...receipt, priceUsdc: usdcOf(BigInt(priceUsdc)) }
}

function recordOf(row: Record<string, unknown>): PaymentRecord {
  return {
    callId: hexOf(row['call_id']),
    authorization: authorizationOf(row),
    signature: hexOf(row['signature']),
    deployment: hexOf(row['deployment']),
    requestDigest: hexOf(row['request_digest']),
    fromBlock: row['from_block'] as bigint,
    state: row['state'] as PaymentState,
    isBooked: row['is_booked'] === 1n,
    transaction: row['tx'] === null ? undefined : hexOf(row['tx']),
    reason: row['reason'] === null ? undefined : String(row['reason']),
    receipt: row['receipt'] === null ? undefined : readReceipt(String(row['receipt'])),
    key: row['key'] === null ? undefined : (JSON.parse(String(row['key'])) as PaymentKey),
    answer: answerOf(row),
  }
}

function authorizationOf(row: Record<string, unknown>): Authorization {
  return {
    from: addressOf(row['payer']),
    to: addressOf(row['payee']),
    valueUsdc: usdcOf(row['amount']),
    validAfter: Number(row['valid_after']),
    validBefore: Number(row['valid_before']),
    nonce: hexOf(row['nonce']),
  }
}

function answerOf({ status, headers, body }: Record<string, unknown>): StoredAnswer | undefined {
  if (status === null || headers === null || body === null) return undefined
  return {
    status: Number(status),
    rawHeaders: JSON.parse(String(headers)),
    body: new Uint8Array(body as Uint8Array),
  }
}
