import type { Address } from 'viem'
import { meteredSigner } from '../../protocol/grant.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'

/**
 * What has a line of its own in the books: a payer's metered grant, what one key may sign vouchers for in one epoch, or a
 * user's trial calls. A metered debt outlives its grant, so there the epoch is always 0, and so it is for trial calls; a
 * voucher's ends with its epoch.
 */
export interface Lane {
  readonly payer: Address
  /** Zero for metered use, `trialSigner` for trial calls, else the key. */
  readonly signer: Address
  readonly epoch: number
}

export const meteredLane = (payer: Address): Lane => ({ payer, signer: meteredSigner, epoch: 0 })

/** Nobody can sign for the address of a precompiled contract, so this is never the lane of anybody's vouchers. */
export const trialSigner: Address = '0x0000000000000000000000000000000000000001'

/** Its calls count, and nothing is charged to it. */
export const trialLane = (user: Address): Lane => ({ payer: user, signer: trialSigner, epoch: 0 })

export const isTrial = ({ signer }: Pick<Lane, 'signer'>): boolean => signer === trialSigner

export const isMetered = ({ signer }: Pick<Lane, 'signer'>): boolean => signer === meteredSigner

export const laneOf = ({ voucher: { payer, epoch }, signer }: SignedVoucher): Lane => ({
  payer,
  signer,
  epoch,
})

export const laneKey = ({ payer, signer, epoch }: Lane): string => `${payer}${signer}${epoch}`
