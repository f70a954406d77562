import type { DatabaseSync } from 'node:sqlite'
import { addressOf, bytesOf, hexOf } from './columns.ts'
import type { ProvedAccess } from './records.ts'
import { inTransaction } from './statements.ts'

/** The durable side of `VoucherAccesses`. Runs in the journal's thread. */
export interface VoucherAccessTable {
  save(access: ProvedAccess): void
  readAll(): ProvedAccess[]
}

export function createVoucherAccessTable(db: DatabaseSync): VoucherAccessTable {
  const save = db.prepare('INSERT OR REPLACE INTO voucher_accesses VALUES (?, ?, ?, ?)')
  return {
    save: ({ payer, signer, epoch, digest }) =>
      inTransaction(db, () => void save.run(payer, signer, epoch, bytesOf(digest))),
    readAll: () =>
      db
        .prepare('SELECT payer, signer, epoch, digest FROM voucher_accesses')
        .all()
        .map((row) => ({
          payer: addressOf(row['payer']),
          signer: addressOf(row['signer']),
          epoch: Number(row['epoch']),
          digest: hexOf(row['digest']),
        })),
  }
}
