import type { Address, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { decidePayment, type Payment, type PaymentResult, type PaymentTerms } from '../../protocol/x402.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PaymentId, PaymentKey, PaymentOrder, PaymentRecord, StoredAnswer } from '../ledger/records.ts'
import type { Exposure } from './exposure.ts'
import { createHolds } from './holds.ts'
import * as refusals from './refusals.ts'
import type { PaymentFate } from './settle-payment.ts'
import { bookingOf, type Settlements } from './settlements.ts'
import type { WalletLooks } from './wallet-looks.ts'

/** One payment while its call is under way. Disposal lets the next request with the same payment in. */
export interface HeldPayment extends Disposable {
  readonly chainId: number
  /**
   * What an earlier call with this payment gave; waits for its settlement, within a bound.
   *
   * @throws ProtocolError `payment_conflict` for another request, `payment_used` where it cost nothing,
   * `idempotency_answer_gone`
   */
  findAnswer(): Promise<EarlierCall | undefined>
  /**
   * Checks that the payment covers the call and that the money is there, by the chain, and makes it durable.
   *
   * @throws ProtocolError `payment_mismatch`, `payment_expired`, `payment_invalid`, `payment_used`, `balance_too_low`,
   * `chain_unreachable`, `provider_busy`, `too_many_requests`, `ledger_unavailable`
   */
  reserve(call: PaidCall, signal: AbortSignal): Promise<ReservedPayment>
}

export interface EarlierCall {
  readonly callId: Hex
  readonly answer: StoredAnswer
  readonly result: PaymentResult
}

export interface PaidCall {
  readonly callId: Hex
  readonly terms: PaymentTerms
}

/** Money that was promised for one call, durable. It ends in one of three ways. */
export interface ReservedPayment {
  /** The program has answered: takes the money, and waits for a block that says so, within a bound. */
  charge(
    receipt: Receipt,
    kept: { key: PaymentKey | undefined; answer: StoredAnswer | undefined },
  ): Promise<Charged>
  /** The program has run and costs nothing. @returns the receipt, signed. @throws ProtocolError `ledger_unavailable` */
  waive(receipt: Receipt): Promise<string>
  /** The program did not run: the payment is as good as new. */
  cancel(): Promise<void>
}

export interface Charged {
  readonly result: PaymentResult
  /** Set where the chain refused: there is no answer then. */
  readonly refusal: ProtocolError | undefined
  /** As `formatSignedReceipt` writes it. */
  readonly signedReceipt: string
}

export interface PaymentDeskDeps {
  readonly clock: Clock
  readonly token: PaymentToken
  readonly ledger: Ledger
  readonly exposure: Exposure
  readonly settlements: Settlements
  readonly looks: WalletLooks
  /** A block that is no newer than any that the chain may still add. */
  readonly blockNumber: () => bigint
}

/** What makes two requests with one payment the same. */
export interface PaidRequest {
  readonly deployment: Hex
  readonly requestDigest: Hex
}

export interface PaymentDesk {
  /** Waits for others with the same payment. @throws the reason of `signal` */
  hold(payment: Payment, request: PaidRequest, signal: AbortSignal): Promise<HeldPayment>
  /** What became of the payment of a call; undefined where another way paid. */
  resultOf(callId: Hex): Promise<PaymentResult | undefined>
}

export const paymentId = ({ authorization }: Pick<PaymentOrder, 'authorization'>): PaymentId => ({
  payer: authorization.from,
  nonce: authorization.nonce,
})

/** How long a payment must be valid for when it comes, for a program with this time limit. */
export const neededSeconds = (timeoutMs: number): number =>
  Math.ceil((timeoutMs + limits.programStartTimeoutMs) / 1000) + limits.x402SettleMarginSeconds

export function createPaymentDesk(deps: PaymentDeskDeps): PaymentDesk {
  const { clock, token, ledger, exposure, settlements, looks } = deps
  const holds = createHolds()

  const resultOf = (
    payer: Address,
    ended: { transaction: Hex | undefined; errorReason?: string },
  ): PaymentResult => ({
    success: ended.errorReason === undefined,
    ...ended,
    chainId: token.chainId,
    payer,
  })

  async function answerAgain(record: PaymentRecord, request: PaidRequest): Promise<EarlierCall> {
    const { callId, deployment, requestDigest } = record
    if (deployment !== request.deployment || requestDigest !== request.requestDigest)
      throw refusals.otherRequest()
    await settlements.waitFor(paymentId(record))
    const found = await ledger.payments.find(paymentId(record))
    // One that never ran is forgotten; one that ran without cost is not.
    if (!found || found.state === 'reserved' || found.state === 'released') {
      throw refusals.usedUp(found?.reason ?? 'interrupted')
    }
    if (!found.answer) throw refusals.answerGone(callId)
    return { callId, answer: found.answer, result: describe(found) }
  }

  function describe({ authorization, state, transaction }: PaymentRecord): PaymentResult {
    const isPending = state !== 'mined' && state !== 'final'
    return resultOf(authorization.from, {
      transaction,
      ...(isPending && { errorReason: settlementPending }),
    })
  }

  async function reserve(
    payment: Payment,
    request: PaidRequest,
    { callId, terms }: PaidCall,
    signal: AbortSignal,
  ): Promise<ReservedPayment> {
    const { authorization, signature } = payment
    const nowSeconds = Math.floor(clock.nowMs() / 1000)
    const refusal = refusals.explainVerdict(
      decidePayment(payment, terms, {
        nowSeconds,
        neededSeconds: terms.maxTimeoutSeconds - limits.x402SlackSeconds,
      }),
    )
    if (refusal) throw refusal
    if (exposure.size >= limits.x402PaymentsOpenMax) throw refusals.tooManyOpen()
    const order = { callId, authorization, signature, ...request, fromBlock: deps.blockNumber() }
    const { neededUsdc, remove } = exposure.add(authorization.from, authorization.valueUsdc)
    try {
      await looks.assertMoneyIsThere(payment, neededUsdc, signal)
      if (!(await ledger.payments.reserve(order))) throw refusals.usedUp('known')
      return reserved(order, remove)
    } catch (error) {
      remove()
      throw error
    }
  }

  function reserved(order: PaymentOrder, remove: () => void): ReservedPayment {
    const id = paymentId(order)
    return {
      async charge(receipt, kept) {
        assert(receipt.priceUsdc === order.authorization.valueUsdc, 'an x402 payment is of exactly the price')
        try {
          await ledger.payments.execute({ id, receipt, ...kept })
        } catch (error) {
          // Nothing is due that is not written down.
          remove()
          throw error
        }
        const settlement = settlements.start(order, remove)
        const fate = await settlement.withinBound()
        try {
          const signedReceipt = await ledger.payments.book(bookingOf({ id, receipt, ...kept }, fate))
          settlement.booked()
          return { ...(await describeCharge(id, fate)), signedReceipt }
        } catch (error) {
          settlement.abandon(error)
          throw error
        }
      },
      async waive(receipt) {
        remove()
        const ending = { state: 'released', reason: receipt.outcome } as const
        return ledger.payments.book({ id, receipt, ending, key: undefined, answer: undefined })
      },
      async cancel() {
        remove()
        await ledger.payments.cancel(id)
      },
    }
  }

  async function describeCharge(
    { payer, nonce }: PaymentId,
    fate: PaymentFate | undefined,
  ): Promise<Omit<Charged, 'signedReceipt'>> {
    if (fate?.kind === 'paid') {
      return { result: resultOf(payer, { transaction: fate.transaction }), refusal: undefined }
    }
    if (fate) {
      const { reason: errorReason } = fate
      return {
        result: resultOf(payer, { transaction: undefined, errorReason }),
        refusal: refusals.failed(errorReason),
      }
    }
    const found = await ledger.payments.find({ payer, nonce })
    const pending = { transaction: found?.transaction, errorReason: settlementPending }
    return { result: resultOf(payer, pending), refusal: undefined }
  }

  return {
    async resultOf(callId) {
      const record = await ledger.payments.findByCall(callId)
      return record && describe(record)
    },
    async hold(payment, request, signal) {
      const id = paymentId(payment)
      const held = await holds.take(id.payer + id.nonce, signal)
      return {
        chainId: token.chainId,
        async findAnswer() {
          const record = await ledger.payments.find(id)
          return record && answerAgain(record, request)
        },
        reserve: (call, callSignal) => reserve(payment, request, call, callSignal),
        [Symbol.dispose]: () => held[Symbol.dispose](),
      }
    },
  }
}

/** x402's word for a payment whose transaction may still be mined. */
export const settlementPending = 'settlement_pending'
