import type { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import type { Address, Hex } from 'viem'
import { growMerkleTree } from '../../protocol/merkle.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import { type Usdc, usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'
import { addressOf, bytesOf, hexOf, integerOf, usdcOf } from './columns.ts'
import { isMetered, isTrial } from './lanes.ts'
import { signedLeaf } from './receipt-groups.ts'
import type {
  Batch,
  BatchCandidate,
  BatchRow,
  BatchState,
  GrantCandidate,
  LedgerIdentity,
  TrialCandidate,
} from './records.ts'
import { bigIntStatement, inTransaction } from './statements.ts'
import { receiptOf } from './store.ts'

/** What was and will be settled. Runs in the journal's thread, a page at a time, so that charges go on meanwhile. */
export interface BatchStore {
  /**
   * Makes the next batch durable: for each candidate the receipts since its last batch, and cumulative totals.
   *
   * @returns undefined where none of the candidates owes anything that its grant would pay.
   */
  create(order: BatchOrder): Promise<Batch | undefined>
  /** Batches that are neither final nor abandoned, oldest first. */
  readOpen(): Batch[]
  /** `abandoned` hands the receipts of the batch to the next one. */
  saveState(id: number, state: BatchState): void
  /** The leaves under a batch's usage root, in order. */
  readLeaves(id: number): Promise<Hex[]>
}

export interface BatchOrder {
  readonly candidates: readonly BatchCandidate[]
  readonly receiptsMax: number
  readonly nowMs: number
}

interface AccountKey {
  readonly accountId: number
  readonly payer: Address
}

interface DraftRow extends BatchRow {
  readonly accountId: number
  readonly afterReceipt: number
  readonly lastReceipt: number
  readonly leaves: readonly Hex[]
}

/** About a millisecond of hashing between two looks at the queue of charges. */
const receiptsPerPage = 64

export function createBatchStore(db: DatabaseSync, identity: LedgerIdentity): BatchStore {
  const readAccount = bigIntStatement(
    db,
    'SELECT id, batched_receipt FROM accounts WHERE payer = ? AND signer = ? AND epoch = ?',
  )
  const readTotal = bigIntStatement(db, 'SELECT charged, calls FROM accounts WHERE id = ?')
  const readPage = bigIntStatement(
    db,
    `SELECT r.id, r.price, r.by_grant, r.charged, r.calls, ${signedLeaf} AS leaf FROM receipts r
     WHERE r.account = ? AND r.id > ? AND r.id <= ? ORDER BY r.id LIMIT ${receiptsPerPage}`,
  )
  const readReceipt = bigIntStatement(db, 'SELECT * FROM receipts WHERE id = ?')
  const insertBatch = db.prepare('INSERT INTO batches VALUES (NULL, ?, ?, ?, ?)')
  const insertRow = db.prepare('INSERT INTO batch_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
  const moveMark = db.prepare('UPDATE accounts SET batched_receipt = ? WHERE id = ?')

  function leafOf({ id, leaf }: Record<string, unknown>, payer: Address): Hex {
    if (leaf !== null) return hexOf(leaf)
    const row = readReceipt.get(id as bigint) as Record<string, unknown>
    return receiptLeaf(receiptOf(row, { payer, provider: identity.provider }))
  }

  /** The receipts that were charged to an account's grant in a range, and the totals after the last of them. */
  async function readCharges(
    { accountId, payer }: AccountKey,
    range: { after: number; until: number; receiptsMax: number },
  ) {
    const leaves: Hex[] = []
    let last = range.after
    let total: Record<string, unknown> | undefined
    for (;;) {
      const rows = readPage.all(accountId, last, range.until)
      for (const row of rows) {
        if (leaves.length === range.receiptsMax) return { leaves, last, total }
        last = Number(row['id'])
        total = row
        if (row['price'] !== 0n && row['by_grant'] === 1n) leaves.push(leafOf(row, payer))
      }
      if (rows.length < receiptsPerPage) return { leaves, last, total }
      await setImmediate()
    }
  }

  async function draftRow(candidate: BatchCandidate, receiptsMax: number): Promise<DraftRow | undefined> {
    const { payer, signer, epoch } = candidate
    const account = readAccount.get(payer, signer, epoch)
    if (!account) return undefined
    const accountId = Number(account['id'])
    const afterReceipt = Number(account['batched_receipt'])
    const until = Number.MAX_SAFE_INTEGER
    const charges = await readCharges({ accountId, payer }, { after: afterReceipt, until, receiptsMax })
    const { leaves, last } = charges
    // Without a receipt since the last batch nothing was charged since, and the one before may be pruned.
    const total = charges.total ?? readTotal.get(accountId)
    if (!total) return undefined
    const calls = Number(total['calls'])
    const row = draftClaim({ amountUsdc: usdcOf(total['charged']), calls }, candidate)
    return (
      row && {
        ...row,
        payer,
        accountId,
        afterReceipt,
        lastReceipt: last,
        leaves,
      }
    )
  }

  async function save(rows: readonly DraftRow[], nowMs: number): Promise<Batch> {
    const leaves = rows.flatMap((row) => row.leaves)
    const { root: usageRoot } = await growMerkleTree(leaves, setImmediate)
    const id = inTransaction(db, () => {
      const batch = insertBatch.run('batched', bytesOf(usageRoot), leaves.length, nowMs).lastInsertRowid
      rows.forEach(({ accountId, amountUsdc, calls, afterReceipt, lastReceipt, voucher }, position) => {
        const claim = [batch, position, accountId, integerOf(amountUsdc), calls, afterReceipt, lastReceipt]
        insertRow.run(...claim, ...voucherColumns(voucher))
        moveMark.run(lastReceipt, accountId)
      })
      return Number(batch)
    })
    const plainRows = rows.map(
      ({ payer, amountUsdc, calls, voucher, isTrial }): BatchRow => ({
        payer,
        amountUsdc,
        calls,
        ...(voucher && { voucher }),
        ...(isTrial && { isTrial }),
      }),
    )
    return { id, state: 'batched', rows: plainRows, usageRoot, receipts: leaves.length }
  }

  return {
    async create({ candidates, receiptsMax, nowMs }) {
      const rows: DraftRow[] = []
      let receiptsLeft = receiptsMax
      for (const candidate of candidates) {
        const row = await draftRow(candidate, receiptsLeft)
        if (!row) continue
        rows.push(row)
        receiptsLeft -= row.leaves.length
        if (receiptsLeft === 0) break
      }
      return rows.length === 0 ? undefined : save(rows, nowMs)
    },

    readOpen: () => readOpenBatches(db, identity),

    saveState(id, state) {
      inTransaction(db, () => {
        db.prepare('UPDATE batches SET state = ? WHERE id = ?').run(state, id)
        if (state === 'abandoned') db.prepare(handBack).run(id)
      })
    },

    async readLeaves(id) {
      const leaves: Hex[] = []
      const rows = db
        .prepare(
          `SELECT r.account, a.payer, r.after_receipt, r.last_receipt
           FROM batch_rows r JOIN accounts a ON a.id = r.account WHERE r.batch = ? ORDER BY r.position`,
        )
        .all(id)
      for (const row of rows) {
        const after = Number(row['after_receipt'])
        const until = Number(row['last_receipt'])
        const charges = await readCharges(
          { accountId: Number(row['account']), payer: addressOf(row['payer']) },
          { after, until, receiptsMax: Infinity },
        )
        leaves.push(...charges.leaves)
      }
      return leaves
    },
  }
}

/**
 * Where a later batch has moved the mark on (a mined batch that a re-org took away), its receipts stay under no root; its
 * money does not, because rows are cumulative.
 */
const handBack = `UPDATE accounts SET batched_receipt = r.after_receipt
  FROM batch_rows r WHERE r.batch = ? AND r.account = accounts.id AND accounts.batched_receipt = r.last_receipt`

/** What a candidate's row says. @returns undefined where nothing is due. */
function draftClaim(owed: Owed, candidate: BatchCandidate): Omit<BatchRow, 'payer'> | undefined {
  if ('granted' in candidate) {
    const calls = countable(owed.calls, candidate)
    return calls === undefined ? undefined : { amountUsdc: zeroUsdc, calls, isTrial: true }
  }
  const claim = claimable(owed, candidate)
  return claim && { ...claim, ...(candidate.voucher && { voucher: candidate.voucher }) }
}

/** As many trial calls as the escrow counts: what is above the grant (a re-org took some of it) it would skip. */
export function countable(
  calls: number,
  { granted, used }: Pick<TrialCandidate, 'granted' | 'used'>,
): number | undefined {
  const counted = Math.min(calls, granted)
  return counted > used ? counted : undefined
}

interface Owed {
  readonly amountUsdc: Usdc
  readonly calls: number
}

/**
 * As much of a total as the escrow accepts: never more than the price cap for each call since the last settlement, or
 * it would skip the row. That happens where an old debt meets a new grant with a lower price. Of a voucher's lane never
 * more than was signed.
 *
 * @returns undefined where nothing is due.
 */
export function claimable(
  owed: Owed,
  grant: Pick<GrantCandidate, 'spentUsdc' | 'calls' | 'priceUsdc'> & Partial<Pick<GrantCandidate, 'voucher'>>,
): Owed | undefined {
  const total = withinVoucher(owed, grant.voucher)
  if (total.calls <= grant.calls) return undefined
  const capUsdc = grant.spentUsdc + grant.priceUsdc * BigInt(total.calls - grant.calls)
  const amountUsdc = usdc(total.amountUsdc < capUsdc ? total.amountUsdc : capUsdc)
  return amountUsdc > grant.spentUsdc ? { amountUsdc, calls: total.calls } : undefined
}

function withinVoucher(owed: Owed, signed: SignedVoucher | undefined): Owed {
  if (!signed) return owed
  const { maxAmount, maxCalls } = signed.voucher
  const isAbove = owed.amountUsdc > maxAmount
  return { amountUsdc: isAbove ? maxAmount : owed.amountUsdc, calls: Math.min(owed.calls, maxCalls) }
}

const voucherColumns = (signed: SignedVoucher | undefined) =>
  signed
    ? [integerOf(signed.voucher.maxAmount), signed.voucher.maxCalls, bytesOf(signed.signature)]
    : [null, null, null]

/** What a stored row has beside its payer and its totals. */
function kindOf(
  row: Record<string, unknown>,
  { provider }: LedgerIdentity,
): Pick<BatchRow, 'voucher' | 'isTrial'> {
  const signer = addressOf(row['signer'])
  if (isMetered({ signer })) return {}
  if (isTrial({ signer })) return { isTrial: true }
  const voucher = {
    payer: addressOf(row['payer']),
    provider,
    maxAmount: usdcOf(row['max_amount']),
    maxCalls: Number(row['max_calls']),
    epoch: Number(row['epoch']),
  }
  return { voucher: { voucher, signer, signature: hexOf(row['signature']) } }
}

function readOpenBatches(db: DatabaseSync, identity: LedgerIdentity): Batch[] {
  const batches = bigIntStatement(
    db,
    "SELECT * FROM batches WHERE state NOT IN ('final', 'abandoned') ORDER BY id",
  ).all()
  const readRows = bigIntStatement(
    db,
    `SELECT a.payer, a.signer, a.epoch, r.amount, r.calls, r.max_amount, r.max_calls, r.signature
     FROM batch_rows r JOIN accounts a ON a.id = r.account WHERE r.batch = ? ORDER BY r.position`,
  )
  return batches.map((batch) => ({
    id: Number(batch['id']),
    state: batch['state'] as BatchState,
    usageRoot: hexOf(batch['usage_root']),
    receipts: Number(batch['receipts']),
    rows: readRows.all(batch['id'] as bigint).map((row) => ({
      payer: addressOf(row['payer']),
      amountUsdc: usdcOf(row['amount']),
      calls: Number(row['calls']),
      ...kindOf(row, identity),
    })),
  }))
}
