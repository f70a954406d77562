import type { Address } from 'viem'
import { limits } from './limits.ts'
import { invalidVoucher } from './voucher.ts'
import { parseVoucherToken } from './voucher-token.ts'

/**
 * Vouchers for several providers in one header, as HTTP writes lists: `kv1.…, kv1.…`. Whoever chooses the provider shows it its own
 * one and no other: who has a voucher with its access can call with it.
 */
export interface VoucherSet {
  /** In the order in which they were written; the first of two for the same provider counts. */
  readonly providers: readonly Address[]
  /** @returns undefined where none is for this provider */
  tokenFor(provider: Address): string | undefined
}

export const formatVoucherSet = (tokens: readonly string[]): string => tokens.join(', ')

/**
 * Takes a header's value apart; nothing is verified. One voucher is a set of one.
 *
 * @throws ProtocolError `voucher_invalid`
 */
export function parseVoucherSet(value: string): VoucherSet {
  const words = value.split(',', limits.voucherSetMax + 1).map((word) => word.trim())
  if (words.length > limits.voucherSetMax)
    throw invalidVoucher(`it is a set of more than ${limits.voucherSetMax}`)
  const tokens = new Map<Address, string>()
  for (const token of words) {
    const { provider } = parseVoucherToken(token).signed.voucher
    if (!tokens.has(provider)) tokens.set(provider, token)
  }
  return { providers: [...tokens.keys()], tokenFor: (provider) => tokens.get(provider) }
}
