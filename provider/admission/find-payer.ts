import { unreachable } from '../../protocol/base/assert.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { passTokenOf } from '../../protocol/pass.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { x402Headers } from '../../protocol/x402.ts'
import type { ReadPayment } from '../x402/read-payment.ts'
import { createPassDesk, type PassDeskDeps } from './passes.ts'
import { type PaymentFacts, paymentRequired } from './refusals.ts'

export interface PayerRequest {
  /**
   * Of the request, with lower-case names. Only `authorization` and `payment-signature` are read: a header that names a
   * payer proves nothing.
   */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly deployment: { readonly spec: Pick<DeploymentSpec, 'payer' | 'owner'> }
  readonly priceUsdc: Usdc
}

/**
 * Finds who pays for a call, as the deployment's owner wants it: the owner itself, the caller by a payment or a pass, or
 * the caller who has one and else the owner. A payment was made for this very call, so it comes before a pass. Whether
 * that payer's money covers the call is the ledger's matter.
 *
 * @throws ProtocolError `payment_required` where nobody pays; `pass_invalid`, `pass_not_for_provider`, `grant_missing`,
 * `too_many_requests` for a pass that counts for nothing; `payment_invalid`, `payment_mismatch` for such a payment. Neither
 * ever falls back to the owner.
 */
export type FindPayer = (request: PayerRequest) => Promise<Payer>

export type FindPayerOptions = Omit<PaymentFacts, 'priceUsdc'>

export interface FindPayerDeps extends PassDeskDeps {
  /** Absent where payments are not taken. */
  readonly readPayment?: ReadPayment
}

export function createFindPayer(deps: FindPayerDeps, options: FindPayerOptions): FindPayer {
  const passes = createPassDesk(deps, options)

  async function payByCaller(request: PayerRequest): Promise<Payer | undefined> {
    const payment = request.headers[x402Headers.signature]
    if (payment !== undefined && deps.readPayment) return deps.readPayment(single(payment) ?? '')
    return payByPass(request)
  }

  async function payByPass({ headers }: PayerRequest): Promise<Payer | undefined> {
    const token = passTokenOf(single(headers['authorization']))
    if (token === undefined) return undefined
    const pass = await passes.verify(token)
    return { kind: 'pass', address: pass.payer, pass }
  }

  return async (request) => {
    const { payer, owner } = request.deployment.spec
    const byOwner: Payer = { kind: 'owner', address: owner }
    switch (payer) {
      case 'owner':
        return byOwner
      case 'any':
        return (await payByCaller(request)) ?? byOwner
      case 'caller': {
        const byCaller = await payByCaller(request)
        if (byCaller) return byCaller
        throw paymentRequired({ ...options, priceUsdc: request.priceUsdc })
      }
      default:
        return unreachable(payer)
    }
  }
}

const single = (value: string | string[] | undefined) => (Array.isArray(value) ? undefined : value)
