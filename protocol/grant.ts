import type { Address } from 'viem'
import { limits } from './limits.ts'
import type { Usdc } from './usdc.ts'

/** The signer of grants for metered use: passes and the owner's policy. */
export const meteredSigner: Address = '0x0000000000000000000000000000000000000000'

/** What a payer reserved for one provider in the escrow: the fields of one storage slot, and its key. */
export interface Grant {
  readonly payer: Address
  readonly provider: Address
  /** Zero for metered use (passes, the owner's policy); else the key that signs vouchers. */
  readonly signer: Address
  /** Paid in all, over all epochs. */
  readonly spentUsdc: Usdc
  /** Reserved and not paid yet. */
  readonly budgetUsdc: Usdc
  /** The most that one call may cost. */
  readonly priceUsdc: Usdc
  /** Calls settled in all. */
  readonly calls: number
  /** No call may be served after it. Seconds since 1970. */
  readonly expiry: number
  /** For how long after `expiry` the provider may still settle. */
  readonly noticeHours: number
  readonly epoch: number
}

export type GrantVerdict =
  | { readonly kind: 'covers' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'expired'; readonly expiry: number }
  | { readonly kind: 'notice_too_short'; readonly noticeHours: number }
  | { readonly kind: 'unseen' }
  | { readonly kind: 'price_above_cap'; readonly capUsdc: Usdc }
  | { readonly kind: 'too_low'; readonly leftUsdc: Usdc }

/**
 * Whether a grant covers one more call.
 *
 * @param owedUsdc - All that was charged to this grant since it exists, settled or not, and what is reserved for calls
 * in flight. The grant can pay `spent + budget` in all.
 * @param chainLostSeconds - For how long the chain has not been seen. Within the notice that is no risk: a revocation in
 * the meantime still leaves time to settle. After it the payer may have taken everything back.
 * @param noticeHoursMin - What the provider needs in order to settle after a revocation.
 */
export function decideGrant({
  grant,
  owedUsdc,
  priceUsdc,
  nowSeconds,
  chainLostSeconds = 0,
  noticeHoursMin = 0,
}: {
  grant: Grant | undefined
  owedUsdc: Usdc
  priceUsdc: Usdc
  nowSeconds: number
  chainLostSeconds?: number
  noticeHoursMin?: number
}): GrantVerdict {
  if (!grant) return { kind: 'missing' }
  if (nowSeconds + limits.grantExpiryMarginSeconds >= grant.expiry)
    return { kind: 'expired', expiry: grant.expiry }
  if (grant.noticeHours < noticeHoursMin) return { kind: 'notice_too_short', noticeHours: grant.noticeHours }
  if (chainLostSeconds * 1000 + limits.settleMarginMs > grant.noticeHours * 3_600_000)
    return { kind: 'unseen' }
  if (priceUsdc > grant.priceUsdc) return { kind: 'price_above_cap', capUsdc: grant.priceUsdc }
  const total = grant.spentUsdc + grant.budgetUsdc
  if (owedUsdc + priceUsdc > total) {
    return { kind: 'too_low', leftUsdc: (total > owedUsdc ? total - owedUsdc : 0n) as Usdc }
  }
  return { kind: 'covers' }
}

/** The last moment at which the provider can settle: seconds since 1970. */
export function settleDeadline(grant: Grant): number {
  return grant.expiry + grant.noticeHours * 3600
}
