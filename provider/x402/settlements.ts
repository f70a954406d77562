import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { errorTable } from '../../protocol/errors.ts'
import { addUsdc, formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { Ledger, PaymentBooking } from '../ledger/ledger.ts'
import type { PaymentEnding, PaymentId, PaymentOrder, PaymentRecord } from '../ledger/records.ts'
import type { PaymentFate } from './settle-payment.ts'

/**
 * The settlements under way. Each goes on until the chain has decided, whoever waits for it or not; what an earlier
 * process left, and what a re-org took away, is taken up again.
 */
export interface Settlements extends AsyncDisposable {
  /** @param onEnd - Called once the chain has decided. */
  start(order: PaymentOrder, onEnd: () => void): Settlement
  /** Takes up what an earlier process left, or what is in no block any more. */
  resume(record: PaymentRecord, onEnd: () => void): void
  /** Waits for the settlement of a payment, if one is under way, within the bound. */
  waitFor(id: PaymentId): Promise<void>
  status(): SettlementsStatus
}

export interface SettlementsStatus {
  /** Whose fate is not known. */
  readonly open: number
  /** Calls since the start that were answered and can never be paid any more. */
  readonly lost: number
  readonly lostUsdc: Usdc
}

export interface Settlement {
  /** What became of it, or undefined after the bound: from then on it counts as given away. */
  withinBound(): Promise<PaymentFate | undefined>
  /** To be called when the call is in the books: what is known later is written down after that. */
  booked(): void
  /** To be called when it could not be: the next start knows what to do. */
  abandon(error: unknown): void
}

export interface SettlementsDeps {
  readonly clock: Clock
  readonly log: Log
  readonly ledger: Ledger
  /** See `settlePayment`. */
  readonly settle: (
    payment: { order: PaymentOrder; isGivenAway: () => boolean },
    signal: AbortSignal,
  ) => Promise<PaymentFate>
}

export function createSettlements(
  { clock, log, ledger, settle }: SettlementsDeps,
  { waitMs }: { waitMs: number },
): Settlements {
  const closing = new AbortController()
  const underWay = new Map<string, Promise<PaymentFate>>()
  const tasks = new Set<Promise<void>>()
  let lost = 0
  let lostUsdc = zeroUsdc
  const nameOf = ({ payer, nonce }: PaymentId) => payer + nonce

  /** @returns undefined where the bound came first, or the provider closes. */
  async function race(fate: Promise<PaymentFate>): Promise<PaymentFate | undefined> {
    const done = new AbortController()
    const bound = clock
      .sleep(waitMs, AbortSignal.any([done.signal, closing.signal]))
      .catch(() => undefined)
      .then(() => undefined)
    const first = await Promise.race([fate.catch(() => bound), bound])
    done.abort()
    return first
  }

  function run(
    { order, isGivenAway }: { order: PaymentOrder; isGivenAway: () => boolean },
    onEnd: () => void,
  ) {
    const id = { payer: order.authorization.from, nonce: order.authorization.nonce }
    const fate = settle({ order, isGivenAway }, closing.signal)
    underWay.set(nameOf(id), fate)
    fate.then(onEnd, () => undefined).finally(() => underWay.delete(nameOf(id)))
    return { id, fate }
  }

  /** What goes on behind the answers; disposal waits for it. */
  function inBackground(callId: string, work: Promise<void>): void {
    const task = work.catch((error: unknown) => {
      // All of it is in the ledger; the next start goes on from there.
      if (!closing.signal.aborted) log.error('payment_not_concluded', { call: callId, error: String(error) })
    })
    tasks.add(task)
    void task.then(() => tasks.delete(task))
  }

  function loseOrWin(order: PaymentOrder, fate: PaymentFate): PaymentEnding {
    const { callId, authorization } = order
    if (fate.kind === 'refused') {
      lost += 1
      lostUsdc = addUsdc(lostUsdc, authorization.valueUsdc)
      const amount = formatUsdc(authorization.valueUsdc)
      log.error('payment_lost', { call: callId, payer: authorization.from, amount, reason: fate.reason })
    }
    return endingOf(fate)
  }

  return {
    start(order, onEnd) {
      let isGivenAway = false
      const { id, fate } = run({ order, isGivenAway: () => isGivenAway }, onEnd)
      const isBooked = Promise.withResolvers<void>()
      isBooked.promise.catch(() => undefined)
      return {
        async withinBound() {
          const known = await race(fate)
          if (known) return known
          isGivenAway = true
          const conclude = async () => {
            const ended = await fate
            await isBooked.promise
            await ledger.payments.conclude(id, loseOrWin(order, ended))
          }
          inBackground(order.callId, conclude())
          return undefined
        },
        booked: () => isBooked.resolve(),
        abandon: (error) => isBooked.reject(error),
      }
    },

    resume(record, onEnd) {
      const { id, fate } = run({ order: record, isGivenAway: () => true }, onEnd)
      const conclude = async () => {
        const ended = await fate
        const ending = loseOrWin(record, ended)
        const { receipt, isBooked, key, answer } = record
        if (isBooked || !receipt) await ledger.payments.conclude(id, ending)
        else await ledger.payments.book(bookingOf({ id, receipt, key, answer }, ended))
      }
      inBackground(record.callId, conclude())
    },

    async waitFor(id) {
      const fate = underWay.get(nameOf(id))
      if (fate) await race(fate)
    },

    status: () => ({ open: underWay.size, lost, lostUsdc }),

    async [Symbol.asyncDispose]() {
      closing.abort(new DOMException('The provider is closing.', 'AbortError'))
      await Promise.all(tasks)
    },
  }
}

const endingOf = (fate: PaymentFate): PaymentEnding =>
  fate.kind === 'paid'
    ? { state: 'mined', transaction: fate.transaction, blockNumber: fate.blockNumber }
    : { state: 'released', reason: fate.reason }

/** How a call comes into the books: a payment that the chain refused costs nothing, and nobody gets its answer. */
export function bookingOf(
  call: Omit<PaymentBooking, 'ending'>,
  fate: PaymentFate | undefined,
): PaymentBooking {
  if (fate?.kind !== 'refused') return { ...call, ending: fate && endingOf(fate) }
  const { status } = errorTable.payment_failed
  const receipt = { ...call.receipt, priceUsdc: zeroUsdc, outcome: 'payment_failed' as const, status }
  return { ...call, receipt, ending: endingOf(fate), key: undefined, answer: undefined }
}
