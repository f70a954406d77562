import type { DatabaseSync } from 'node:sqlite'
import type { Address } from 'viem'
import type { TransactionRecord } from '../../protocol/chain/transaction-sender.ts'
import { addressOf, bytesOf, hexOf } from './columns.ts'
import { inTransaction } from './statements.ts'

/** Every transaction that may have left this machine. Runs in the journal's thread. */
export interface TransactionTable {
  save(record: TransactionRecord): void
  /** Those whose fate is not known yet, in the order of their nonces. */
  readOpen(): TransactionRecord[]
  /**
   * All that were ever signed for a purpose. The last one is the one that counts: of the newest nonce, what a block has,
   * else the newest.
   */
  readByPurpose(purpose: string): TransactionRecord[]
  /** All that were ever signed with a nonce, oldest first. */
  readAttempts(at: { readonly from: Address; readonly nonce: number }): TransactionRecord[]
  /** One more than the highest nonce that was ever signed. */
  readNextNonce(from: Address): number
}

export function createTransactionTable(db: DatabaseSync): TransactionTable {
  const save = db.prepare('INSERT OR REPLACE INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
  return {
    save: (record) =>
      inTransaction(
        db,
        () =>
          void save.run(
            bytesOf(record.hash),
            record.purpose,
            record.from,
            record.nonce,
            bytesOf(record.raw),
            record.state,
            record.blockNumber ?? null,
            record.signedAtMs,
          ),
      ),
    readOpen: () =>
      db.prepare("SELECT * FROM transactions WHERE state = 'signed' ORDER BY nonce").all().map(recordOf),
    readByPurpose: (purpose) =>
      db
        .prepare(
          `SELECT * FROM transactions WHERE purpose = ?
           ORDER BY nonce, state IN ('mined', 'reverted'), signed_at_ms`,
        )
        .all(purpose)
        .map(recordOf),
    readAttempts: ({ from, nonce }) =>
      db
        .prepare('SELECT * FROM transactions WHERE nonce = ? AND sender = ? ORDER BY signed_at_ms')
        .all(nonce, from)
        .map(recordOf),
    readNextNonce: (from) =>
      Number(
        db.prepare('SELECT ifnull(max(nonce) + 1, 0) AS next FROM transactions WHERE sender = ?').get(from)?.[
          'next'
        ],
      ),
  }
}

function recordOf(row: Record<string, unknown>): TransactionRecord {
  return {
    hash: hexOf(row['hash']),
    purpose: String(row['purpose']),
    from: addressOf(row['sender']),
    nonce: Number(row['nonce']),
    raw: hexOf(row['raw']),
    state: row['state'] as TransactionRecord['state'],
    blockNumber: row['block_number'] === null ? undefined : BigInt(row['block_number'] as number),
    signedAtMs: Number(row['signed_at_ms']),
  }
}
