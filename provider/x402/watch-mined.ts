import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PaymentRecord } from '../ledger/records.ts'
import { paymentId } from './payment-desk.ts'

export interface MinedWatchDeps {
  readonly clock: Clock
  readonly log: Log
  readonly ledger: Pick<Ledger, 'payments'>
  readonly token: Pick<PaymentToken, 'findTransfer'>
  /** The newest block that no re-org can take away. */
  readonly safeBlock: () => bigint
  /** Settles a payment that is in no block any more. */
  readonly settleAgain: (record: PaymentRecord) => void
}

/**
 * Looks at every mined payment once more when its block is safe: then it is final. One that a re-org took away is settled
 * again, for as long as its authorization holds. Runs until disposed; what it has not seen, the next process looks at.
 */
export function watchMined(deps: MinedWatchDeps, intervalMs: number): AsyncDisposable {
  const { clock, log, ledger, token, safeBlock, settleAgain } = deps

  async function look(record: PaymentRecord, safe: bigint, signal: AbortSignal): Promise<void> {
    const { authorization, transaction, callId } = record
    const blockNumber = transaction && (await token.findTransfer(authorization, transaction, signal))
    if (blockNumber === undefined) {
      await ledger.payments.placeMined(paymentId(record), undefined)
      const amount = formatUsdc(authorization.valueUsdc)
      log.warn('payment_unmined', { call: callId, payer: authorization.from, amount, transaction })
      settleAgain({ ...record, state: 'submitted' })
      return
    }
    const isFinal = blockNumber <= safe
    await ledger.payments.placeMined(paymentId(record), isFinal ? { isFinal } : { isFinal, blockNumber })
  }

  const onError = (error: unknown) => log.debug('payments_not_looked_at', { error: String(error) })
  return repeat({ clock, onError }, intervalMs, async (signal) => {
    const safe = safeBlock()
    for (;;) {
      const records = await ledger.payments.readMined(safe)
      for (const record of records) {
        signal.throwIfAborted()
        await look(record, safe, signal)
      }
      if (records.length === 0) return
    }
  })
}
