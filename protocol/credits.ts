import type { Address } from 'viem'

/**
 * The trial calls of one user with one provider: what was given away, and what the escrow has counted of it. They are
 * no money and never become any.
 */
export interface Credits {
  readonly provider: Address
  readonly user: Address
  /** In all, ever. What lies above 2^32 − 1 counts as that. */
  readonly granted: number
  /** Of those, as far as the provider has told the escrow. At most `granted`. */
  readonly used: number
}

/** Whether they cover one more call. @param usedCalls - All that were ever used, those in flight included. */
export function decideCredits(
  credits: Credits | undefined,
  usedCalls: number,
): { readonly kind: 'covers' } | { readonly kind: 'exhausted'; readonly granted: number } {
  const granted = credits?.granted ?? 0
  return usedCalls < granted ? { kind: 'covers' } : { kind: 'exhausted', granted }
}

/** A count of the contract's 64 bits as the books have it, where no lane has more calls than 32 bits hold. */
export const toCreditCalls = (calls: bigint): number => Number(calls < callsMax ? calls : callsMax)

const callsMax = 2n ** 32n - 1n
