import type { Clock } from '../../protocol/base/clock.ts'
import { isAtLeast, type SignedVoucher } from '../../protocol/voucher.ts'
import type { Journal } from './journal.ts'
import { type Lane, laneKey, laneOf } from './lanes.ts'

/** The highest voucher of each lane that is on disk: what may be served for, and what is redeemed. */
export interface VoucherShelf {
  find(lane: Lane): SignedVoucher | undefined
  /**
   * Makes a voucher durable if it promises more than the one before it, in both numbers; else nothing changes. Its
   * signature has been checked.
   *
   * @throws ProtocolError `ledger_unavailable`
   */
  accept(signed: SignedVoucher): Promise<void>
}

export function createVoucherShelf({ journal, clock }: { journal: Journal; clock: Clock }): VoucherShelf {
  const highest = new Map(journal.totals.vouchers.map((signed) => [laneKey(laneOf(signed)), signed]))
  const saving = new Map<string, Promise<void>>()

  async function save(key: string, signed: SignedVoucher): Promise<void> {
    try {
      await journal.query('saveVoucher', { signed, nowMs: clock.nowMs() })
      highest.set(key, signed)
    } finally {
      saving.delete(key)
    }
  }

  return {
    find: (lane) => highest.get(laneKey(lane)),
    async accept(signed) {
      const key = laneKey(laneOf(signed))
      for (;;) {
        const held = highest.get(key)
        if (held && !isHigher(signed, held)) return
        if (journal.failure) throw journal.failure
        // Calls that bring the same voucher wait for one write; another voucher is compared with what that leaves.
        const underWay = saving.get(key)
        if (underWay) {
          await underWay
          continue
        }
        const saved = save(key, signed)
        saving.set(key, saved)
        return saved
      }
    },
  }
}

const isHigher = (signed: SignedVoucher, held: SignedVoucher): boolean =>
  isAtLeast(signed.voucher, held.voucher) && !isAtLeast(held.voucher, signed.voucher)
