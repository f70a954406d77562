import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import { limits } from '../../protocol/limits.ts'
import type { X402Payer } from '../../protocol/payer.ts'
import {
  findMismatch,
  isForUndeployedWallet,
  type Payment,
  parsePayment,
  recoverAuthorizationSigner,
} from '../../protocol/x402.ts'
import { type Asker, type Source, sourceOf } from '../admission/asker.ts'
import { createFailureBuckets, type ProvenNames } from '../admission/failure-buckets.ts'
import { chainTooSlow, mismatched, notSignedByPayer, tooManyFailures, walletNotDeployed } from './refusals.ts'

/**
 * Reads a `PAYMENT-SIGNATURE` and checks who signed it. Whether it covers the call and whether the money is there comes
 * later: a repetition of a paid call is answered whatever the payment is worth by then.
 *
 * Anybody can name any account as the payer, so what fails counts for the place that it came from, and not for whom it names.
 *
 * @throws ProtocolError `payment_invalid`, `payment_mismatch`; `too_many_requests` while too many signatures fail that come
 * from the asker's place, or from all places that nobody who paid has come from; `chain_unreachable` where the payer is a contract and nobody can
 * be asked
 */
export type ReadPayment = (header: string, asker: Asker) => Promise<X402Payer>

export interface PaymentReaderDeps {
  readonly token: PaymentToken
  readonly clock: Clock
  /** Payers who have paid. */
  readonly proven: Pick<ProvenNames, 'has'>
}

export function createPaymentReader(
  { token, clock, proven }: PaymentReaderDeps,
  { provider }: { provider: Address },
): ReadPayment {
  const target = { chainId: token.chainId, asset: token.token, payTo: provider }
  /** Places from which a payer came whose signature was good, and who has paid by now. */
  const payerAt = createRecent<string, Address>(limits.payersWatchedMax)
  const places = {
    has(network: string) {
      const payer = payerAt.get(network)
      return payer !== undefined && proven.has(payer)
    },
  }
  const signatures = createFailureBuckets(
    { clock, proven: places },
    {
      failuresPerNameMax: limits.failuresPerSourcePerSecondMax,
      failuresPerCrowdMax: limits.failuresPerPeerPerSecondMax,
      failuresPerSecondMax: limits.passFailuresPerSecondMax,
    },
  )
  const looks = createFailureBuckets(
    { clock, proven: places },
    {
      failuresPerNameMax: limits.x402LooksLostPerSourcePerSecondMax,
      failuresPerCrowdMax: limits.failuresPerPeerPerSecondMax,
      failuresPerSecondMax: limits.x402LooksLostPerSecondMax,
    },
  )

  async function isSigned(payment: Payment, { network, peer }: Source): Promise<boolean> {
    const { authorization, signature } = payment
    using place = await signatures.take(network, peer)
    if (!place) throw tooManyFailures()
    const isSignedNow =
      (await recoverAuthorizationSigner(authorization, signature, token)) === authorization.from ||
      (await isSignedByContract(payment, { network, peer }))
    if (!isSignedNow) return false
    place.giveBack()
    // Keys cost nothing: one that has not paid must not take the place of one that has.
    if (!places.has(network)) payerAt.set(network, authorization.from)
    return true
  }

  async function isSignedByContract(
    { authorization, signature }: Payment,
    { network, peer }: Source,
  ): Promise<boolean> {
    using look = await looks.take(network, peer)
    if (!look) throw tooManyFailures()
    const signal = AbortSignal.timeout(limits.rpcTimeoutMs)
    const isSignedNow = await token.isSignedByContract(authorization, signature, signal).catch((error) => {
      throw signal.aborted ? chainTooSlow() : error
    })
    if (isSignedNow) look.giveBack()
    return isSignedNow
  }

  return async (header, asker) => {
    const payment = parsePayment(header)
    const mismatch = findMismatch(payment, target)
    if (mismatch) throw mismatched(mismatch)
    if (isForUndeployedWallet(payment.signature)) throw walletNotDeployed()
    if (!(await isSigned(payment, sourceOf(asker)))) throw notSignedByPayer()
    return { kind: 'x402', address: payment.authorization.from, payment }
  }
}
