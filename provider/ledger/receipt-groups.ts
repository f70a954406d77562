import type { DatabaseSync } from 'node:sqlite'
import type { Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { createMerkleTree } from '../../protocol/merkle.ts'
import { type Receipt, receiptLeaf } from '../../protocol/receipt.ts'
import type { DelegatedKey } from '../../protocol/receipt-key.ts'
import { formatReceipt, formatSignedReceipt, sharedBytes } from '../../protocol/signed-receipt.ts'
import { bytesOf, hexOf } from './columns.ts'
import type { ReceiptSigner } from './receipt-signer.ts'
import type { LedgerIdentity } from './records.ts'

/**
 * What was signed over the receipts that were committed together: one signature, whatever the load. Only leaves and
 * signature are kept; a receipt's path is computed when somebody asks. Runs in the journal's thread.
 */
export interface ReceiptGroups {
  /**
   * Signs receipts; nothing is written.
   *
   * @param receipts - With consecutive ids.
   * @returns each one as `formatSignedReceipt` writes it, and what it takes to show them again
   */
  sign(receipts: readonly NumberedReceipt[]): {
    readonly receipts: readonly string[]
    readonly seal: GroupSeal
  }
  /** Keeps that, in the transaction that writes the receipts. */
  keep(firstReceipt: number, seal: GroupSeal): void
  /** @returns undefined for a receipt of before receipts were signed. */
  read(receipt: NumberedReceipt): string | undefined
  /** Forgets groups of which no receipt is left; to be called after receipts were deleted. */
  prune(receiptIds: Iterable<number>): void
}

/** What was signed over the receipts of a group, and by which key. */
export interface GroupSeal {
  readonly leaves: readonly Hex[]
  readonly signature: Hex
  readonly key: DelegatedKey
}

export interface NumberedReceipt {
  readonly receiptId: number
  readonly receipt: Receipt
}

const leafBytes = 32

export function createReceiptGroups(
  db: DatabaseSync,
  { provider, market }: LedgerIdentity,
  signer: ReceiptSigner,
): ReceiptGroups {
  const findKey = db.prepare('SELECT id FROM receipt_keys WHERE x = ? AND y = ? AND delegation = ?')
  const insertKey = db.prepare('INSERT INTO receipt_keys VALUES (NULL, ?, ?, ?, ?, ?) RETURNING id')
  const insertGroup = db.prepare('INSERT INTO receipt_groups VALUES (?, ?, ?, ?)')
  const findGroup = db.prepare(
    `SELECT g.first_receipt, g.leaves, g.signature, k.x, k.y, k.valid_after, k.valid_before, k.delegation
     FROM receipt_groups g JOIN receipt_keys k ON k.id = g.key
     WHERE g.first_receipt <= ? ORDER BY g.first_receipt DESC LIMIT 1`,
  )
  const dropGroup = db.prepare(
    `DELETE FROM receipt_groups WHERE first_receipt = ?
     AND NOT EXISTS (SELECT 1 FROM receipts WHERE id >= ? AND id < ?)`,
  )
  let saved: { readonly key: DelegatedKey; readonly id: number } | undefined

  function keyId(key: DelegatedKey): number {
    if (saved?.key !== key) {
      const { x, y, validAfter, validBefore, delegation } = key
      const point = [bytesOf(x), bytesOf(y)] as const
      const row =
        findKey.get(...point, bytesOf(delegation)) ??
        insertKey.get(...point, validAfter, validBefore, bytesOf(delegation))
      saved = { key, id: Number(row?.['id']) }
    }
    return saved.id
  }

  return {
    sign(receipts) {
      const [first] = receipts
      assert(first, 'a group has receipts')
      assert(
        receipts.every(({ receiptId }, index) => receiptId === first.receiptId + index),
        'receipts of a group are numbered one after the other',
      )
      const leaves = receipts.map(({ receipt }) => receiptLeaf(receipt))
      const tree = createMerkleTree(leaves)
      const { signature, key } = signer.sign(tree.root)
      const shared = sharedBytes({ signature, key, market })
      return {
        receipts: receipts.map(({ receipt }, index) => formatReceipt(receipt, tree.proof(index), shared)),
        seal: { leaves, signature, key },
      }
    },

    keep(firstReceipt, { leaves, signature, key }) {
      insertGroup.run(firstReceipt, joinHashes(leaves), bytesOf(signature), keyId(key))
    },

    read({ receiptId, receipt }) {
      const row = findGroup.get(receiptId)
      if (!row) return undefined
      const leaves = splitHashes(row['leaves'] as Uint8Array)
      const index = receiptId - Number(row['first_receipt'])
      if (index >= leaves.length) return undefined
      const key = {
        provider,
        x: hexOf(row['x']),
        y: hexOf(row['y']),
        validAfter: Number(row['valid_after']),
        validBefore: Number(row['valid_before']),
        delegation: hexOf(row['delegation']),
      }
      const path = createMerkleTree(leaves).proof(index)
      return formatSignedReceipt({ market, receipt, path, key, signature: hexOf(row['signature']) })
    },

    prune(receiptIds) {
      for (const id of receiptIds) {
        const row = findGroup.get(id)
        if (!row) continue
        const first = Number(row['first_receipt'])
        dropGroup.run(first, first, first + (row['leaves'] as Uint8Array).byteLength / leafBytes)
      }
    },
  }
}

/**
 * The leaf of receipt `r` as it was signed, in SQL: a settlement takes thousands, and hashing them anew would hold up the
 * charges. NULL for a receipt of before receipts were signed.
 */
export const signedLeaf = `(
  SELECT nullif(substr(g.leaves, (r.id - g.first_receipt) * ${leafBytes} + 1, ${leafBytes}), x'')
  FROM receipt_groups g WHERE g.first_receipt <= r.id ORDER BY g.first_receipt DESC LIMIT 1)`

const joinHashes = (hashes: readonly Hex[]): Uint8Array =>
  Buffer.from(hashes.map((hash) => hash.slice(2)).join(''), 'hex')

const splitHashes = (bytes: Uint8Array): Hex[] =>
  Array.from({ length: bytes.byteLength / leafBytes }, (_, i) =>
    hexOf(bytes.subarray(i * leafBytes, (i + 1) * leafBytes)),
  )
