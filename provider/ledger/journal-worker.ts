import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../protocol/base/assert.ts'
import { type ErrorCode, toProtocolError } from '../../protocol/errors.ts'
import type { DelegatedKey } from '../../protocol/receipt-key.ts'
import { type BatchStore, createBatchStore } from './batches.ts'
import type { GroupWire } from './group-wire.ts'
import { createHistory, type History } from './history.ts'
import { createPaymentTable, type PaymentTable } from './payments.ts'
import { openPendingGroups, type PendingGroups } from './pending-groups.ts'
import { createReceiptSigner, type ReceiptPoint, type ReceiptSigner } from './receipt-signer.ts'
import type { JournalTotals, LedgerIdentity } from './records.ts'
import { createRevokedPassTable, type RevokedPassTable } from './revoked-pass-table.ts'
import { openDatabase } from './schema.ts'
import { type ChargeStore, createChargeStore } from './store.ts'
import { createTransactionTable, type TransactionTable } from './transactions.ts'
import { createUsageProofs, type UsageProofs } from './usage-proofs.ts'
import { createVoucherAccessTable, type VoucherAccessTable } from './voucher-access-table.ts'
import { createVoucherTable, type VoucherTable } from './voucher-table.ts'

/** What other threads may ask of the journal, by name. */
export interface JournalQueries {
  readReceipt: ChargeStore['readReceipt']
  readSignedReceipt: ChargeStore['readSignedReceipt']
  readKey: ChargeStore['readKey']
  createBatch: BatchStore['create']
  readOpenBatches: BatchStore['readOpen']
  saveBatchState: BatchStore['saveState']
  readBatchLeaves: BatchStore['readLeaves']
  saveTransaction: TransactionTable['save']
  readOpenTransactions: TransactionTable['readOpen']
  readTransactions: TransactionTable['readByPurpose']
  readAttempts: TransactionTable['readAttempts']
  readNextNonce: TransactionTable['readNextNonce']
  saveVoucher: VoucherTable['save']
  saveVoucherAccess: VoucherAccessTable['save']
  reservePayment: PaymentTable['reserve']
  cancelPayment: PaymentTable['cancel']
  executePayment: PaymentTable['execute']
  submitPayment: PaymentTable['submit']
  concludePayment: PaymentTable['conclude']
  readMinedPayments: PaymentTable['readMined']
  placeMinedPayment: PaymentTable['placeMined']
  findPayment: PaymentTable['find']
  findPaymentByCall: PaymentTable['findByCall']
  recoverPayments: PaymentTable['recover']
  saveRevokedPass: RevokedPassTable['save']
  knowsPayer: History['knowsPayer']
  readLanes: History['readLanes']
  readLaneReceipts: History['readLaneReceipts']
  readChargesBetween: History['readChargesBetween']
  readPasses: History['readPasses']
  findBatch: History['findBatch']
  findPaidCall: History['findPaidCall']
  sumPayments: History['sumPayments']
  readAllLanes: History['readAllLanes']
  readUsageProofs: UsageProofs['readUsageProofs']
  readShownRoot: UsageProofs['readShownRoot']
  signVote: ReceiptSigner['signVote']
}

export interface JournalOptions {
  readonly dir: string
  readonly identity: LedgerIdentity
  readonly nowMs: number
}

export type JournalRequest =
  | { readonly kind: 'delegate'; readonly key: DelegatedKey }
  | { readonly kind: 'commit'; readonly group: GroupWire }
  | {
      readonly kind: 'query'
      readonly id: number
      readonly name: keyof JournalQueries
      readonly args: readonly unknown[]
    }
  | { readonly kind: 'close' }

/** Errors cross threads as plain data: a clone would lose their class. */
export interface JournalFailure {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
}

export type JournalResponse =
  | { readonly kind: 'opened'; readonly totals: JournalTotals; readonly point: ReceiptPoint }
  | { readonly kind: 'refused'; readonly failure: JournalFailure }
  /** The group's receipts, signed, in their order. */
  | { readonly kind: 'committed'; readonly receipts: readonly string[] }
  /** Nothing that was not said to be committed can be relied on, and nothing more will be written. */
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'query_failed'; readonly id: number; readonly reason: string }

if (!isMainThread) runJournal(workerData as JournalOptions)

function runJournal({ dir, identity, nowMs }: JournalOptions): void {
  assert(parentPort, 'the journal runs in a worker')
  const port = parentPort
  const answer = (response: JournalResponse) => port.postMessage(response)
  try {
    const db = openDatabase(dir, identity)
    const signer = createReceiptSigner(identity.market)
    const charges = createChargeStore(db, identity, signer)
    const groups = openPendingGroups({ db, store: charges }, dir)
    const batches = createBatchStore(db, identity)
    const transactions = createTransactionTable(db)
    const payments = createPaymentTable(db)
    const vouchers = createVoucherTable(db, identity)
    const revokedPasses = createRevokedPassTable(db)
    const queries: JournalQueries = {
      ...createHistory(db, identity),
      ...createUsageProofs(db, identity, batches),
      saveRevokedPass: revokedPasses.save,
      readReceipt: charges.readReceipt,
      readSignedReceipt: charges.readSignedReceipt,
      readKey: charges.readKey,
      createBatch: batches.create,
      readOpenBatches: batches.readOpen,
      saveBatchState: batches.saveState,
      readBatchLeaves: batches.readLeaves,
      saveTransaction: transactions.save,
      readOpenTransactions: transactions.readOpen,
      readTransactions: transactions.readByPurpose,
      readAttempts: transactions.readAttempts,
      readNextNonce: transactions.readNextNonce,
      saveVoucher: vouchers.save,
      saveVoucherAccess: createVoucherAccessTable(db).save,
      reservePayment: payments.reserve,
      cancelPayment: payments.cancel,
      executePayment: payments.execute,
      submitPayment: payments.submit,
      concludePayment: payments.conclude,
      readMinedPayments: payments.readMined,
      placeMinedPayment: payments.placeMined,
      findPayment: payments.find,
      findPaymentByCall: payments.findByCall,
      recoverPayments: payments.recover,
      signVote: signer.signVote,
    }
    let applying: NodeJS.Timeout | undefined
    function apply(): void {
      clearTimeout(applying)
      applying = undefined
      groups.apply()
    }
    /** Calls have their answers by then; that the tables cannot be written is news for the next ones. */
    function applyUnasked(): void {
      try {
        apply()
      } catch (error) {
        answer({ kind: 'failed', reason: String(error) })
      }
    }
    port.on('message', (request: JournalRequest) => {
      if (request.kind === 'commit') {
        answer(commit(groups, request.group))
        if (groups.isDue) applyUnasked()
        else if (!groups.isEmpty) applying ??= setTimeout(applyUnasked, applyDelayMs)
      } else if (request.kind === 'query') {
        void runQuery(queries, request, { before: asideQueries.has(request.name) ? noWork : apply }).then(
          answer,
        )
      } else if (request.kind === 'delegate') signer.key = request.key
      else {
        applyUnasked()
        groups[Symbol.dispose]()
        db.close()
        port.close()
      }
    })
    answer({ kind: 'opened', totals: charges.readTotals(nowMs), point: signer.point })
  } catch (error) {
    const { code, message, hint } = toProtocolError(error)
    answer({
      kind: 'refused',
      failure: { code, message: code === 'internal' ? String(error) : message, hint },
    })
    port.close()
  }
}

/** In a quiet minute the tables are behind the file for no longer. */
const applyDelayMs = 250

/** Those that neither read nor write what groups write: they need not wait for them. */
const asideQueries: ReadonlySet<keyof JournalQueries> = new Set([
  'readKey',
  'saveVoucher',
  'saveVoucherAccess',
  'signVote',
])
const noWork = () => undefined

function commit(groups: PendingGroups, group: GroupWire): JournalResponse {
  try {
    return { kind: 'committed', receipts: groups.commit(group) }
  } catch (error) {
    return { kind: 'failed', reason: String(error) }
  }
}

async function runQuery(
  queries: JournalQueries,
  { id, name, args }: JournalRequest & { kind: 'query' },
  { before }: { readonly before: () => void },
): Promise<JournalResponse> {
  try {
    before()
    const query = queries[name] as (...args: readonly unknown[]) => unknown
    return { kind: 'result', id, value: await query(...args) }
  } catch (error) {
    return { kind: 'query_failed', id, reason: String(error) }
  }
}
