import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseVoucherSet } from '../../protocol/voucher-set.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import { type Options, usageError } from '../command.ts'

/** Ways to pay with what was signed before. */
export const paymentOptions = {
  pass: { type: 'string', value: '<token>', help: 'Pay by a pass (or set KHACHAPURI_PASS)' },
  vouchers: {
    type: 'string',
    value: '<set>',
    help: 'Pay by a voucher of "voucher create" (or set KHACHAPURI_VOUCHERS)',
  },
} as const satisfies Options

export interface SignedPayment {
  /** For a gateway that chooses providers. */
  readonly headers: Readonly<Record<string, string>>
  /** For one provider: of a set of vouchers its own. @throws ProtocolError `voucher_not_for_provider` */
  headersFor(provider: Address): Readonly<Record<string, string>>
}

/** @throws ProtocolError `usage_invalid`, `voucher_invalid` */
export function readSignedPayment(
  flags: { readonly pass?: string | undefined; readonly vouchers?: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): SignedPayment {
  if (flags.pass !== undefined && flags.vouchers !== undefined)
    throw usageError('--pass and --vouchers exclude each other.', 'Use one.')
  const isGiven = flags.pass !== undefined || flags.vouchers !== undefined
  const vouchers = isGiven ? flags.vouchers : env['KHACHAPURI_VOUCHERS']
  const pass = isGiven ? flags.pass : env['KHACHAPURI_PASS']
  if (vouchers) return payByVouchers(vouchers)
  const headers: Record<string, string> = pass ? { authorization: `Bearer ${pass}` } : {}
  return { headers, headersFor: () => headers }
}

function payByVouchers(text: string): SignedPayment {
  const set = parseVoucherSet(text)
  return {
    headers: { [voucherHeader]: text },
    headersFor(provider) {
      const token = set.tokenFor(provider)
      if (token !== undefined) return { [voucherHeader]: token }
      throw new ProtocolError('voucher_not_for_provider', `None of the vouchers is for ${provider}.`, {
        hint: 'Sign one for each provider that may take the call: khachapuri voucher create.',
      })
    },
  }
}
