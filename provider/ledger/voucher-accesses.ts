import type { Journal } from './journal.ts'
import type { ProvedAccess } from './records.ts'

/** The newest of each key: who shows it is no stranger, also to a provider that has just started. */
export interface VoucherAccesses {
  has(access: ProvedAccess): boolean
  /** Its signature has been checked. @throws ProtocolError `ledger_unavailable` */
  keep(access: ProvedAccess): Promise<void>
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
