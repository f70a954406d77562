import type { IncomingHttpHeaders } from 'node:http'
import { type Address, isAddress, isAddressEqual } from 'viem'
import { isProtocolError } from '../../protocol/errors.ts'
import { parsePass, passTokenOf } from '../../protocol/pass.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { parseVoucherSet } from '../../protocol/voucher-set.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import { parsePayment, x402Headers } from '../../protocol/x402.ts'

/** Whom a request can pay, and how much for a call. */
export interface PaymentBounds {
  /** Undefined where it says nothing of that: the owner pays, or nobody was asked yet. */
  readonly payees: readonly Address[] | undefined
  readonly priceUsdcMax: Usdc | undefined
}

const unbounded: PaymentBounds = { payees: undefined, priceUsdcMax: undefined }

/**
 * Reads out of a request which providers its payment is for. Nothing is verified: who lies here is refused by the
 * provider, and what cannot be read is the provider's to explain.
 */
export function readPaymentBounds(headers: IncomingHttpHeaders): PaymentBounds {
  try {
    const pass = passTokenOf(headers.authorization)
    if (pass !== undefined) {
      const { providers, maxPricePerCall } = parsePass(pass).pass
      return { payees: providers, priceUsdcMax: maxPricePerCall }
    }
    const voucher = headers[voucherHeader]
    if (typeof voucher === 'string')
      return { payees: parseVoucherSet(voucher).providers, priceUsdcMax: undefined }
    const payment = headers[x402Headers.signature]
    if (typeof payment === 'string') {
      const { payTo } = parsePayment(payment).accepted
      return isAddress(payTo) ? { payees: [payTo], priceUsdcMax: undefined } : unbounded
    }
  } catch (error) {
    if (!isProtocolError(error)) throw error
  }
  return unbounded
}

/** Those whom the payment can pay; all where that would leave nobody, as then one of them has to say so. */
export function payableOf<T extends { readonly address: Address }>(
  providers: readonly T[],
  { payees }: PaymentBounds,
): readonly T[] {
  if (payees === undefined) return providers
  const payable = providers.filter(({ address }) => payees.some((payee) => isAddressEqual(payee, address)))
  return payable.length > 0 ? payable : providers
}
