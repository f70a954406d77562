import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
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
import { createFailureBuckets, type ProvenNames } from '../admission/failure-buckets.ts'
import { chainTooSlow, mismatched, notSignedByPayer, tooManyFailures, walletNotDeployed } from './refusals.ts'

/**
 * Reads a `PAYMENT-SIGNATURE` and checks who signed it. Whether it covers the call and whether the money is there comes
 * later: a repetition of a paid call is answered whatever the payment is worth by then.
 *
 * @throws ProtocolError `payment_invalid`, `payment_mismatch`; `too_many_requests` while too many signatures fail in this
 * payer's name, or in those of all who have not paid yet; `chain_unreachable` where the payer is a contract and nobody can
 * be asked
 */
export type ReadPayment = (header: string) => Promise<X402Payer>

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
  const signatures = createFailureBuckets(
    { clock, proven },
    {
      failuresPerNameMax: limits.failuresPerPayerPerSecondMax,
      failuresPerSecondMax: limits.passFailuresPerSecondMax,
    },
  )
  // Anybody can name any account as the payer. Those who sign with a key are not asked about here, so nobody can spoil
  // their looks at the chain.
  const looks = createFailureBuckets(
    { clock, proven },
    {
      failuresPerNameMax: limits.x402LooksLostPerPayerPerSecondMax,
      failuresPerSecondMax: limits.x402LooksLostPerSecondMax,
    },
  )

  async function isSigned(payment: Payment): Promise<boolean> {
    const { authorization, signature } = payment
    using place = await signatures.take(authorization.from)
    if (!place) throw tooManyFailures()
    const isSignedNow =
      (await recoverAuthorizationSigner(authorization, signature, token)) === authorization.from ||
      (await isSignedByContract(payment))
    if (isSignedNow) place.giveBack()
    return isSignedNow
  }

  async function isSignedByContract({ authorization, signature }: Payment): Promise<boolean> {
    using look = await looks.take(authorization.from)
    if (!look) throw tooManyFailures()
    const signal = AbortSignal.timeout(limits.rpcTimeoutMs)
    const isSignedNow = await token.isSignedByContract(authorization, signature, signal).catch((error) => {
      throw signal.aborted ? chainTooSlow() : error
    })
    if (isSignedNow) look.giveBack()
    return isSignedNow
  }

  return async (header) => {
    const payment = parsePayment(header)
    const mismatch = findMismatch(payment, target)
    if (mismatch) throw mismatched(mismatch)
    if (isForUndeployedWallet(payment.signature)) throw walletNotDeployed()
    if (!(await isSigned(payment))) throw notSignedByPayer()
    return { kind: 'x402', address: payment.authorization.from, payment }
  }
}
