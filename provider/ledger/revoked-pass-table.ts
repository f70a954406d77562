import type { DatabaseSync } from 'node:sqlite'
import type { PassRevocation } from '../../protocol/pass-revocation.ts'
import { passGraceMs } from './books.ts'
import { addressOf, bytesOf, hexOf } from './columns.ts'
import { inTransaction } from './statements.ts'

/** The durable side of `RevokedPasses`. Runs in the journal's thread. */
export interface RevokedPassTable {
  save(revocation: PassRevocation): void
  /** All that can still be needed; forgets the rest. */
  readAll(nowMs: number): PassRevocation[]
}

export function createRevokedPassTable(db: DatabaseSync): RevokedPassTable {
  const save = db.prepare(
    `INSERT INTO revoked_passes VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET valid_before = max(valid_before, excluded.valid_before)`,
  )
  return {
    save: ({ payer, id, validBefore }) =>
      inTransaction(db, () => void save.run(payer, bytesOf(id), validBefore)),
    readAll(nowMs) {
      db.prepare('DELETE FROM revoked_passes WHERE valid_before <= ?').run(
        Math.floor((nowMs - passGraceMs) / 1000),
      )
      return db
        .prepare('SELECT payer, id, valid_before FROM revoked_passes')
        .all()
        .map((row) => ({
          payer: addressOf(row['payer']),
          id: hexOf(row['id']),
          validBefore: Number(row['valid_before']),
        }))
    },
  }
}
