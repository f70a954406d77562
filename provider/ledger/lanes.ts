import type { Address } from 'viem'
import { meteredSigner } from '../../protocol/grant.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'

/**
 * What has a line of its own in the books: a payer's metered grant, or what one key may sign vouchers for in one epoch.
 * A metered debt outlives its grant, so there the epoch is always 0; a voucher's ends with its epoch.
 */
export interface Lane {
  readonly payer: Address
  /** Zero for metered use. */
  readonly signer: Address
  readonly epoch: number
}

export const meteredLane = (payer: Address): Lane => ({ payer, signer: meteredSigner, epoch: 0 })

export const isMetered = ({ signer }: Pick<Lane, 'signer'>): boolean => signer === meteredSigner

export const laneOf = ({ voucher: { payer, epoch }, signer }: SignedVoucher): Lane => ({
  payer,
  signer,
  epoch,
})

export const laneKey = ({ payer, signer, epoch }: Lane): string => `${payer}${signer}${epoch}`
