import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { X402Payer } from '../../protocol/payer.ts'
import { findMismatch, type Payment, parsePayment, recoverAuthorizationSigner } from '../../protocol/x402.ts'
import { createFailureBucket } from '../admission/failure-bucket.ts'
import { mismatched, notSignedByPayer } from './refusals.ts'

/**
 * Reads a `PAYMENT-SIGNATURE` and checks who signed it. Whether it covers the call and whether the money is there comes
 * later: a repetition of a paid call is answered whatever the payment is worth by then.
 *
 * @throws ProtocolError `payment_invalid`, `payment_mismatch`; `too_many_requests` while too many signatures fail;
 * `chain_unreachable` where the payer is a contract and nobody can be asked
 */
export type ReadPayment = (header: string) => Promise<X402Payer>

export function createPaymentReader(
  { token, clock }: { token: PaymentToken; clock: Clock },
  { provider }: { provider: Address },
): ReadPayment {
  const failures = createFailureBucket(clock, limits.passFailuresPerSecondMax)
  const target = { chainId: token.chainId, asset: token.token, payTo: provider }

  async function isSigned({ authorization, signature }: Payment): Promise<boolean> {
    const signer = await recoverAuthorizationSigner(authorization, signature, token)
    if (signer === authorization.from) return true
    return token.isSignedByContract(authorization, signature, AbortSignal.timeout(limits.rpcTimeoutMs))
  }

  return async (header) => {
    const payment = parsePayment(header)
    const mismatch = findMismatch(payment, target)
    if (mismatch) throw mismatched(mismatch)
    if (failures.isFull()) throw tooManyFailures()
    if (!(await isSigned(payment))) {
      failures.add()
      throw notSignedByPayer()
    }
    return { kind: 'x402', address: payment.authorization.from, payment }
  }
}

const tooManyFailures = () =>
  new ProtocolError('too_many_requests', 'Too many payments with a wrong signature arrive here.', {
    hint: 'Send it again in a second.',
  })
