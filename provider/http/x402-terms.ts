import type { Usdc } from '../../protocol/usdc.ts'
import { formatPaymentRequired, type PaymentTerms, x402Headers } from '../../protocol/x402.ts'
import { type PaymentFacts, withWaysToPay } from '../admission/refusals.ts'
import type { Deployment } from '../deployments/deployments.ts'
import type { X402 } from '../x402/x402.ts'
import type { CallRequest } from './call-request.ts'
import { calledOrigin } from './called-origin.ts'

/**
 * What an x402 payment for a call must be; undefined where none would count, because only the deployment's owner may
 * pay, or because the token does not take any.
 */
export function x402Terms(
  x402: Pick<X402, 'terms'> | undefined,
  { spec }: Deployment,
  priceUsdc: Usdc,
): PaymentTerms | undefined {
  return spec.payer === 'owner' ? undefined : x402?.terms({ priceUsdc, spec })
}

/** The way to refuse a call: whatever is about paying says what would pay, in its document and for x402 clients. */
export function refuseWithTerms(
  { request, refuse }: Pick<CallRequest, 'request' | 'refuse'>,
  facts: PaymentFacts,
  terms: PaymentTerms | undefined,
): CallRequest['refuse'] {
  return (error, callId, rawHeaders = []) => {
    if (error.status !== 402) return refuse(error, callId, rawHeaders)
    const told = withWaysToPay(error, { ...facts, takesX402: terms !== undefined })
    if (!terms) return refuse(told, callId, rawHeaders)
    const url = `${calledOrigin(request.headers)}${request.url ?? '/'}`
    const required = formatPaymentRequired({ url, error: error.code, terms })
    refuse(told, callId, [...rawHeaders, x402Headers.required, required])
  }
}
