import type { DatabaseSync } from 'node:sqlite'
import type { SignedVoucher } from '../../protocol/voucher.ts'
import { addressOf, bytesOf, hexOf, integerOf, usdcOf } from './columns.ts'
import type { LedgerIdentity } from './records.ts'
import { bigIntStatement, inTransaction } from './statements.ts'

/** The highest voucher of each lane. Losing one is losing the money that it promises. Runs in the journal's thread. */
export interface VoucherTable {
  /** Takes the place of the one before; synced when it returns. */
  save(order: { readonly signed: SignedVoucher; readonly nowMs: number }): void
  readAll(): SignedVoucher[]
}

export function createVoucherTable(db: DatabaseSync, { provider }: LedgerIdentity): VoucherTable {
  const save = db.prepare('INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?, ?, ?, ?)')
  return {
    save({ signed: { voucher, signer, signature }, nowMs }) {
      const { payer, maxAmount, maxCalls, epoch } = voucher
      inTransaction(db, () =>
        save.run(payer, signer, epoch, integerOf(maxAmount), maxCalls, bytesOf(signature), nowMs),
      )
    },
    readAll: () =>
      bigIntStatement(db, 'SELECT * FROM vouchers')
        .all()
        .map((row) => ({
          voucher: {
            payer: addressOf(row['payer']),
            provider,
            maxAmount: usdcOf(row['max_amount']),
            maxCalls: Number(row['max_calls']),
            epoch: Number(row['epoch']),
          },
          signer: addressOf(row['signer']),
          signature: hexOf(row['signature']),
        })),
  }
}
