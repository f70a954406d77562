import type { Hash } from 'viem'
import { backoffDelayMs } from '../../protocol/base/backoff.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import type { TransactionRecord, TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PaymentOrder } from '../ledger/records.ts'

export interface SettlePaymentDeps {
  readonly token: PaymentToken
  readonly sender: TransactionSender
  readonly ledger: Ledger
  readonly clock: Clock
  readonly log: Log
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** How a payment ended. */
export type PaymentFate =
  | { readonly kind: 'paid'; readonly transaction: Hash; readonly blockNumber: bigint }
  | { readonly kind: 'refused'; readonly reason: RefusalReason }

/** `insufficient_funds` and `transfer_refused` may pass; the others are for ever. */
export type RefusalReason = 'insufficient_funds' | 'transfer_refused' | 'cancelled' | 'expired'

type Attempt = PaymentFate | { readonly kind: 'again' }

/**
 * Takes the money of an executed payment, from wherever an earlier process left it, and goes on until the chain has
 * decided. Trouble on the way (no RPC server, no ether for gas) decides nothing.
 *
 * @param isGivenAway - Whether the answer is out already. A payer who only lacks money then has until the authorization
 * ends; before, the answer is kept back instead.
 */
export async function settlePayment(
  deps: SettlePaymentDeps,
  { order, isGivenAway }: { order: PaymentOrder; isGivenAway: () => boolean },
  signal: AbortSignal,
): Promise<PaymentFate> {
  const { clock, log, random } = deps
  for (let failures = 0; ; failures += 1) {
    const attempt = await tryToSettle(deps, order, signal).catch((error: unknown): Attempt => {
      signal.throwIfAborted()
      log.warn('payment_not_settled', { call: order.callId, failures, error: String(error) })
      return { kind: 'again' }
    })
    if (attempt.kind === 'paid') return attempt
    if (attempt.kind === 'refused' && (isForEver(attempt.reason) || !isGivenAway())) return attempt
    const delayMs = backoffDelayMs(failures, {
      delayMsMin: limits.settleRetryDelayMsMin,
      delayMsMax: limits.settleRetryDelayMsMax,
      random,
    })
    await clock.sleep(delayMs, signal)
  }
}

const isForEver = (reason: RefusalReason) => reason === 'cancelled' || reason === 'expired'

const purposeOf = ({ authorization: { from, nonce } }: PaymentOrder) => `x402:${from}:${nonce}`

async function tryToSettle(
  deps: SettlePaymentDeps,
  order: PaymentOrder,
  signal: AbortSignal,
): Promise<Attempt> {
  const { sender, ledger } = deps
  const { from: payer, nonce } = order.authorization
  const signed = (await ledger.transactions.readByPurpose(purposeOf(order))).at(-1)
  let record = signed && mayBeMined(signed) ? signed : undefined
  if (!record) {
    try {
      record = await send(deps, order, signal)
    } catch (error) {
      signal.throwIfAborted()
      return explain(deps, { order, error }, signal)
    }
  }
  await ledger.payments.submit({ payer, nonce }, record.hash)
  const fate = await sender.wait(record, signal)
  if (fate.kind === 'mined') {
    const { transactionHash: transaction, blockNumber } = fate.receipt
    return { kind: 'paid', transaction, blockNumber }
  }
  return fate.kind === 'replaced' ? { kind: 'again' } : explain(deps, { order, error: undefined }, signal)
}

const mayBeMined = ({ state }: TransactionRecord) => state === 'signed' || state === 'mined'

async function send({ token, sender }: SettlePaymentDeps, order: PaymentOrder, signal: AbortSignal) {
  const call = await token.takeCall(order.authorization, order.signature)
  // The token asks the payer's contract, which may think otherwise by now, and at length.
  return sender.send(call, { purpose: purposeOf(order), gasMax: limits.x402ContractGasMax }, signal)
}

/**
 * What it means that a transfer was not sent, or was undone. An authorization that is used up may have been used by
 * somebody who saw it on its way: the money is here then all the same.
 *
 * @throws the error itself where it says nothing about the payment
 */
async function explain(
  { token }: SettlePaymentDeps,
  { order, error }: { order: PaymentOrder; error: unknown },
  signal: AbortSignal,
): Promise<Attempt> {
  if (error !== undefined && !isAnswerOfChain(error)) throw error
  const { authorization, fromBlock } = order
  const { isUsed, balanceUsdc, timestamp } = await token.readStanding(authorization, signal)
  if (isUsed) {
    const use = await token.findUse(authorization, fromBlock, signal)
    // The state is newer than the logs that this server knows.
    if (!use) return { kind: 'again' }
    return use.kind === 'transferred'
      ? { kind: 'paid', transaction: use.transaction, blockNumber: use.blockNumber }
      : { kind: 'refused', reason: 'cancelled' }
  }
  if (timestamp >= authorization.validBefore) return { kind: 'refused', reason: 'expired' }
  if (balanceUsdc < authorization.valueUsdc) return { kind: 'refused', reason: 'insufficient_funds' }
  // With the money there, a lack of it is that of our own gas.
  if (isProtocolError(error) && error.code === 'transaction_failed') {
    return { kind: 'refused', reason: 'transfer_refused' }
  }
  if (error !== undefined) throw error
  return { kind: 'again' }
}

const isAnswerOfChain = (error: unknown) =>
  isProtocolError(error) && (error.code === 'transaction_failed' || error.code === 'balance_too_low')
