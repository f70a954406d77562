import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { Address, Hex } from 'viem'
import { type Outcome, outcomeNames, outcomes } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { passGraceMs } from './books.ts'
import { addressOf, bytesOf, hexOf, integerOf, usdcOf } from './columns.ts'
import { type Lane, laneKey, meteredLane } from './lanes.ts'
import { createPaymentBooker } from './payments.ts'
import { createReceiptPruner, type ReceiptBounds } from './prune-receipts.ts'
import { createReceiptGroups, type GroupSeal, type NumberedReceipt } from './receipt-groups.ts'
import type { ReceiptSigner } from './receipt-signer.ts'
import type { ChargeRecord, FoundKey, JournalTotals, KeyRecord, KeyScope, LedgerIdentity } from './records.ts'
import { createRevokedPassTable } from './revoked-pass-table.ts'
import { bigIntStatement, inTransaction } from './statements.ts'
import { createVoucherAccessTable } from './voucher-access-table.ts'
import { createVoucherTable } from './voucher-table.ts'

/** Receipts, totals and stored answers in SQLite. Runs in the journal's thread. */
export interface ChargeStore {
  /** Signs the receipts of a group; nothing is written. */
  seal(records: readonly ChargeRecord[]): SealedGroup & { readonly receipts: readonly string[] }
  /**
   * Writes groups, all of them or nothing; synced when it returns.
   *
   * @param also - Belongs to the same transaction.
   */
  write(groups: readonly SealedGroup[], also?: () => void): void
  readTotals(nowMs: number): JournalTotals
  readReceipt(callId: Hex): Receipt | undefined
  /** As `formatSignedReceipt` writes it. */
  readSignedReceipt(callId: Hex): string | undefined
  readKey(scope: KeyScope & { readonly nowMs: number }): FoundKey | undefined
}

/** A group whose receipts are signed. */
export interface SealedGroup {
  readonly records: readonly ChargeRecord[]
  readonly seal: GroupSeal
}

export function createChargeStore(
  db: DatabaseSync,
  identity: LedgerIdentity,
  signer: ReceiptSigner,
  bounds?: ReceiptBounds,
): ChargeStore {
  const { provider } = identity
  const receiptGroups = createReceiptGroups(db, identity, signer)
  const writeRecords = createRecordWriter(db)
  const { prune } = createReceiptPruner(db, bounds)
  const receiptByCall = bigIntStatement(
    db,
    'SELECT r.*, a.payer FROM receipts r JOIN accounts a ON a.id = r.account WHERE r.call_id = ?',
  )
  const keyByScope = bigIntStatement(
    db,
    `SELECT request_digest, call_id, status, headers, body FROM answers
     WHERE payer = ? AND deployment = ? AND key = ? AND stored_at_ms > ?`,
  )

  function findReceipt(callId: Hex): NumberedReceipt | undefined {
    const row = receiptByCall.get(bytesOf(callId))
    return (
      row && {
        receiptId: Number(row['id']),
        receipt: receiptOf(row, { payer: addressOf(row['payer']), provider }),
      }
    )
  }

  return {
    seal: (records) => ({ records, ...receiptGroups.sign(records) }),
    write: (groups, also) =>
      inTransaction(db, () => {
        const records = groups.flatMap((group) => group.records)
        writeRecords(records)
        for (const {
          records: [first],
          seal,
        } of groups)
          if (first) receiptGroups.keep(first.receiptId, seal)
        receiptGroups.prune(prune(records))
        also?.()
      }),
    readTotals: (nowMs) => readTotals(db, identity, nowMs),
    readReceipt: (callId) => findReceipt(callId)?.receipt,
    readSignedReceipt(callId) {
      const found = findReceipt(callId)
      return found && receiptGroups.read(found)
    },
    readKey({ payer, deployment, key, nowMs }) {
      const oldestMs = nowMs - limits.idempotentAnswerAgeMsMax
      const row = keyByScope.get(payer, bytesOf(deployment), key, oldestMs)
      return row && foundKeyOf(row)
    },
  }
}

function createRecordWriter(db: DatabaseSync): (group: readonly ChargeRecord[]) => void {
  const insertReceipt = db.prepare(
    'INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const saveAccount = db.prepare(
    `INSERT INTO accounts (payer, signer, epoch, charged, calls) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (payer, signer, epoch) DO UPDATE SET charged = excluded.charged, calls = excluded.calls
     RETURNING id`,
  )
  const savePass = db.prepare('INSERT OR REPLACE INTO passes VALUES (?, ?, ?, ?)')
  const saveOwner = db.prepare('INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?)')
  const writeKey = createKeyWriter(db)
  const bookPayment = createPaymentBooker(db)

  return (group) => {
    const accountIds = new Map<string, number>()
    for (const record of lastOf(group, (r) => laneKey(laneOfRecord(r)))) {
      const lane = laneOfRecord(record)
      const { payer, signer, epoch } = lane
      const saved = saveAccount.get(payer, signer, epoch, integerOf(record.chargedUsdc), record.calls)
      accountIds.set(laneKey(lane), Number(saved?.['id']))
    }
    for (const record of group) {
      insertReceipt.run(...receiptColumns(record, accountIds.get(laneKey(laneOfRecord(record))) ?? null))
    }
    for (const { pass } of lastOf(group, (r) => r.pass && r.pass.payer + r.pass.id)) {
      if (pass) savePass.run(pass.payer, bytesOf(pass.id), integerOf(pass.chargedUsdc), pass.validBefore)
    }
    for (const { ownerUsage: o } of lastOf(group, (r) => r.ownerUsage?.spec)) {
      if (o) saveOwner.run(bytesOf(o.spec), o.day, integerOf(o.chargedUsdc), o.minute, o.calls)
    }
    for (const { key, receipt } of group) if (key) writeKey(key, receipt)
    for (const { payment } of group) if (payment) bookPayment(payment)
  }
}

const laneOfRecord = ({ lane, receipt }: ChargeRecord): Lane => lane ?? meteredLane(receipt.payer)

/** The last record of each value of `keyOf`: it holds the totals after the whole group. */
function lastOf<K>(
  group: readonly ChargeRecord[],
  keyOf: (record: ChargeRecord) => K,
): Iterable<ChargeRecord> {
  return new Map(group.map((record) => [keyOf(record), record])).values()
}

/** Keeps answers within their age and their space; a key outlives an answer for which there was no space. */
function createKeyWriter(db: DatabaseSync): (key: KeyRecord, receipt: Receipt) => void {
  const insertKey = db.prepare('INSERT OR REPLACE INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const dropOld = db.prepare('DELETE FROM answers WHERE stored_at_ms <= ?')
  const sumBytes = db.prepare('SELECT ifnull(sum(length(body) + length(headers)), 0) AS bytes FROM answers')
  const readBytes = () => Number(sumBytes.get()?.['bytes'])
  const sweepIntervalMs = limits.idempotentAnswerAgeMsMax / 24
  let bytes = readBytes()
  let sweptAtMs = 0

  return ({ key, requestDigest, storedAtMs, answer }, receipt) => {
    if (storedAtMs > sweptAtMs + sweepIntervalMs) {
      dropOld.run(storedAtMs - limits.idempotentAnswerAgeMsMax)
      bytes = readBytes()
      sweptAtMs = storedAtMs
    }
    const headers = answer && JSON.stringify(answer.rawHeaders)
    const answerBytes = answer && headers ? answer.body.byteLength + headers.length : 0
    const kept = bytes + answerBytes <= limits.idempotentAnswersBytesMax ? answer : undefined
    if (kept) bytes += answerBytes
    insertKey.run(
      receipt.payer,
      bytesOf(receipt.deployment),
      key,
      bytesOf(requestDigest),
      bytesOf(receipt.callId),
      storedAtMs,
      kept ? kept.status : null,
      kept && headers ? headers : null,
      kept ? kept.body : null,
    )
  }
}

function readTotals(db: DatabaseSync, identity: LedgerIdentity, nowMs: number): JournalTotals {
  const rows = (sql: string, ...values: SQLInputValue[]) => bigIntStatement(db, sql).all(...values)
  const nowSeconds = Math.floor(nowMs / 1000)
  db.prepare('DELETE FROM passes WHERE valid_before <= ?').run(Math.floor((nowMs - passGraceMs) / 1000))
  const [last] = rows('SELECT ifnull(max(id), 0) AS id FROM receipts')
  return {
    receiptId: Number(last?.['id']),
    // Who was charged nothing (x402 pays by itself) is on disk for its receipts only.
    accounts: rows('SELECT * FROM accounts WHERE charged != 0 OR calls != 0').map((row) => ({
      payer: addressOf(row['payer']),
      signer: addressOf(row['signer']),
      epoch: Number(row['epoch']),
      chargedUsdc: usdcOf(row['charged']),
      calls: Number(row['calls']),
    })),
    revokedPasses: createRevokedPassTable(db).readAll(nowMs),
    vouchers: createVoucherTable(db, identity).readAll(),
    voucherAccesses: createVoucherAccessTable(db).readAll(),
    passes: rows('SELECT payer, id, charged, valid_before FROM passes').map((row) => ({
      payer: addressOf(row['payer']),
      id: hexOf(row['id']),
      chargedUsdc: usdcOf(row['charged']),
      validBefore: Number(row['valid_before']),
    })),
    owners: rows(
      'SELECT spec, day, charged, minute, calls FROM owners WHERE day >= ?',
      Math.floor(nowSeconds / 86_400) - 1,
    ).map((row) => ({
      spec: hexOf(row['spec']),
      day: Number(row['day']),
      chargedUsdc: usdcOf(row['charged']),
      minute: Number(row['minute']),
      calls: Number(row['calls']),
    })),
  }
}

function foundKeyOf(row: Record<string, unknown>): FoundKey {
  const { request_digest, call_id, status, headers, body } = row
  return {
    requestDigest: hexOf(request_digest),
    callId: hexOf(call_id),
    answer:
      status === null
        ? undefined
        : {
            status: Number(status),
            rawHeaders: JSON.parse(headers as string),
            body: new Uint8Array(body as Uint8Array),
          },
  }
}

function receiptColumns(
  { receiptId, receipt, chargedUsdc, calls, payment }: ChargeRecord,
  accountId: number | null,
) {
  return [
    receiptId,
    accountId,
    bytesOf(receipt.callId),
    bytesOf(receipt.programId),
    bytesOf(receipt.deployment),
    bytesOf(receipt.requestDigest),
    bytesOf(receipt.responseDigest),
    receipt.status,
    outcomes[receipt.outcome],
    integerOf(receipt.priceUsdc),
    receipt.startedAt,
    receipt.durationMs,
    integerOf(chargedUsdc),
    calls,
    payment ? 0 : 1,
  ] as const
}

export function receiptOf(
  row: Record<string, unknown>,
  { payer, provider }: { payer: Address; provider: Address },
): Receipt {
  return {
    callId: hexOf(row['call_id']),
    programId: hexOf(row['program_id']),
    deployment: hexOf(row['deployment']),
    payer,
    provider,
    requestDigest: hexOf(row['request_digest']),
    responseDigest: hexOf(row['response_digest']),
    status: Number(row['status']),
    outcome: outcomeNames.get(Number(row['outcome'])) as Outcome,
    priceUsdc: usdcOf(row['price']),
    startedAt: Number(row['started_at']),
    durationMs: Number(row['duration_ms']),
  }
}
