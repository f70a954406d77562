import type { Market } from '../../protocol/typed-data.ts'
import { isDevChain } from '../faults.ts'

/**
 * Whether vouchers pay here: on development chains only, so far. `redeem` puts a voucher and its signature on the chain,
 * where a stranger can copy what its window has left; before real money may hang on it, the caller must prove something
 * that is never published.
 */
export const takesVouchers = ({ chainId }: Market): boolean => isDevChain(chainId)
