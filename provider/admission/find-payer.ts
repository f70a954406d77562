import { unreachable } from '../../protocol/base/assert.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { passTokenOf } from '../../protocol/pass.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import { x402Headers } from '../../protocol/x402.ts'
import type { ReadPayment } from '../x402/read-payment.ts'
import type { Asker } from './asker.ts'
import { createPassDesk } from './passes.ts'
import { type PaymentFacts, paymentRequired } from './refusals.ts'
import { createVoucherDesk, type VoucherDeskDeps } from './vouchers.ts'

export interface PayerRequest {
  /**
   * Of the request, with lower-case names. Only `authorization`, `khachapuri-voucher` and `payment-signature` are read, and
   * where it comes from: a header that names a payer proves nothing.
   */
  readonly headers: Asker['headers']
  readonly socket: Asker['socket']
  readonly deployment: { readonly spec: Pick<DeploymentSpec, 'payer' | 'owner'> }
  readonly priceUsdc: Usdc
}

/**
 * Finds who pays for a call, as the deployment's owner wants it: the owner itself, the caller by a payment, a voucher or a
 * pass, or the caller who has one and else the owner. A payment was made for this very call, so it comes first; then a
 * voucher, which trusts nobody. A pass whose payer has trial credits here and no grant makes a trial call. Whether that payer's money covers the call is the ledger's matter.
 *
 * @throws ProtocolError `payment_required` where nobody pays; `pass_invalid`, `pass_not_for_provider`, `grant_missing`,
 * `too_many_requests` for a pass that counts for nothing; `voucher_invalid`, `voucher_not_for_provider` and these for such
 * a voucher; `payment_invalid`, `payment_mismatch` for such a payment. None ever falls back to the owner.
 */
export type FindPayer = (request: PayerRequest) => Promise<Payer>

export type FindPayerOptions = Omit<PaymentFacts, 'priceUsdc'>

export interface FindPayerDeps extends VoucherDeskDeps {
  /** Absent where payments are not taken. */
  readonly readPayment?: ReadPayment
}

export function createFindPayer(deps: FindPayerDeps, options: FindPayerOptions): FindPayer {
  const passes = createPassDesk(deps, options)
  const vouchers = createVoucherDesk(deps, options)

  async function payByCaller(request: PayerRequest): Promise<Payer | undefined> {
    const payment = request.headers[x402Headers.signature]
    if (payment !== undefined && deps.readPayment) return deps.readPayment(single(payment) ?? '', request)
    const voucher = request.headers[voucherHeader]
    if (voucher !== undefined) return payByVoucher(single(voucher) ?? '', request)
    return payByPass(request)
  }

  async function payByVoucher(token: string, request: PayerRequest): Promise<Payer> {
    const signed = await vouchers.verify(token, request)
    return { kind: 'voucher', address: signed.voucher.payer, signed }
  }

  async function payByPass(request: PayerRequest): Promise<Payer | undefined> {
    const token = passTokenOf(single(request.headers['authorization']))
    if (token === undefined) return undefined
    const pass = await passes.verify(token, request)
    const { payer: address } = pass
    const isTrial = !deps.grants.grant(address) && deps.grants.credits(address) !== undefined
    return { kind: isTrial ? 'trial' : 'pass', address, pass }
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
