import type { DatabaseSync } from 'node:sqlite'
import type { Address, Hex } from 'viem'
import { addressOf, bytesOf, hexOf } from './columns.ts'
import type { Journal } from './journal.ts'
import { inTransaction } from './statements.ts'

/** That a key has proved that it shows vouchers itself: see `protocol/voucher-token.ts`. */
export interface ProvedAccess {
  readonly payer: Address
  readonly signer: Address
  readonly epoch: number
  /** SHA-256 of the access, which itself is worth money and is kept nowhere. */
  readonly digest: Hex
}

/** The newest of each key: who shows it is no stranger, also to a provider that has just started. */
export interface VoucherAccesses {
  has(access: ProvedAccess): boolean
  /** Its signature has been checked. @throws ProtocolError `ledger_unavailable` */
  keep(access: ProvedAccess): Promise<void>
}

/** The durable side of it. Runs in the journal's thread. */
export interface VoucherAccessTable {
  save(access: ProvedAccess): void
  readAll(): ProvedAccess[]
}

export function createVoucherAccesses({ journal }: { journal: Journal }): VoucherAccesses {
  const newest = new Map(journal.totals.voucherAccesses.map((access) => [keyOf(access), access]))
  return {
    has(access) {
      const held = newest.get(keyOf(access))
      return held?.epoch === access.epoch && held.digest === access.digest
    },
    async keep(access) {
      const heldEpoch = newest.get(keyOf(access))?.epoch ?? -1
      // Accesses of epochs that have ended stay good signatures for ever, and must not displace the one that counts.
      if (heldEpoch > access.epoch) return
      if (journal.failure) throw journal.failure
      await journal.query('saveVoucherAccess', access)
      newest.set(keyOf(access), access)
    },
  }
}

const keyOf = ({ payer, signer }: ProvedAccess) => payer + signer

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
