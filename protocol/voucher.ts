import { type Address, type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { type Market, marketDomain, typedDataTypes } from './typed-data.ts'
import type { Usdc } from './usdc.ts'

/** A payer-signed cumulative promise to one provider: all calls so far may have cost up to `maxAmount`. */
export interface Voucher {
  readonly payer: Address
  readonly provider: Address
  readonly maxAmount: Usdc
  readonly maxCalls: number
  /** The grant's epoch; `reclaim` raises it, which kills older vouchers. */
  readonly epoch: number
}

const message = (voucher: Voucher, market: Market) =>
  ({
    types: { Voucher: typedDataTypes.Voucher },
    primaryType: 'Voucher',
    domain: marketDomain(market),
    message: voucher,
  }) as const

/** @param signer - The payer, or the session key that the grant names. */
export function signVoucher(voucher: Voucher, signer: LocalAccount, market: Market): Promise<Hex> {
  return signer.signTypedData(message(voucher, market))
}

/** The key that signed the voucher, or undefined for bytes that no key signed. */
export function recoverVoucherSigner(
  voucher: Voucher,
  signature: Hex,
  market: Market,
): Promise<Address | undefined> {
  return recoverTypedDataAddress({ ...message(voucher, market), signature }).catch(() => undefined)
}
