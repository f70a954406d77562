import type { IncomingHttpHeaders } from 'node:http'
import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { parseVoucherSet, type VoucherSet } from '../../protocol/voucher-set.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'

/** @returns undefined where a request brings no voucher, or one that is the provider's to read. @throws ProtocolError `voucher_invalid` */
export function readVoucherSet(headers: IncomingHttpHeaders): VoucherSet | undefined {
  return headers[voucherHeader]?.includes(',') ? readVouchers(headers) : undefined
}

/** The same of any number of vouchers. @throws ProtocolError `voucher_invalid` */
export function readVouchers(headers: IncomingHttpHeaders): VoucherSet | undefined {
  const value = headers[voucherHeader]
  return typeof value === 'string' ? parseVoucherSet(value) : undefined
}

/**
 * The same headers with this provider's voucher alone. Without it the owner of the deployment might pay for whom wanted to pay itself.
 *
 * @throws ProtocolError `voucher_not_for_provider`
 */
export function withVoucherFor(rawHeaders: RawHeaders, vouchers: VoucherSet, provider: Address): RawHeaders {
  const token = vouchers.tokenFor(provider)
  if (token === undefined) throw noVoucherFor([provider])
  const kept: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]!.toLowerCase() !== voucherHeader)
      kept.push(rawHeaders[index]!, rawHeaders[index + 1]!)
  }
  return [...kept, voucherHeader, token]
}

export const noVoucherFor = (providers: readonly Address[]) =>
  new ProtocolError('voucher_not_for_provider', `None of the vouchers is for ${providers.join(', ')}.`, {
    hint: 'Sign one for each provider that may take the call: khachapuri voucher create.',
    details: { providers },
  })
