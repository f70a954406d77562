import { type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { base64url, toHex } from './base/bytes.ts'
import { limits } from './limits.ts'
import { isCanonicalSignature } from './signed-token.ts'
import { type Market, marketDomain } from './typed-data.ts'
import { formatVoucher, invalidVoucher, parseVoucher, type SignedVoucher, type Voucher } from './voucher.ts'

/** What a caller shows to pay by voucher: the voucher, and that it is the voucher's signer who shows it. */
export interface VoucherToken {
  readonly signed: SignedVoucher
  /**
   * The signer's signature of `VoucherAccess`, made once for each epoch. `redeem` puts vouchers on the chain, and this
   * nowhere: who reads the chain can copy a voucher and yet not call with it.
   */
  readonly access: Hex
}

/** The request header that pays by voucher. */
export const voucherHeader = 'khachapuri-voucher'

/** The vouchers that one access signature stands for. */
export type AccessScope = Pick<Voucher, 'payer' | 'provider' | 'epoch'>

/** The escrow never sees one, so `contracts/TypedData.sol` does not know the type. */
const accessType = [
  { name: 'payer', type: 'address' },
  { name: 'provider', type: 'address' },
  { name: 'epoch', type: 'uint8' },
] as const

const message = ({ payer, provider, epoch }: AccessScope, market: Market) =>
  ({
    types: { VoucherAccess: accessType },
    primaryType: 'VoucherAccess',
    domain: marketDomain(market),
    message: { payer, provider, epoch },
  }) as const

/** @param signer - Who signs the vouchers: the payer, or the session key that the grant names. */
export function signVoucherAccess(scope: AccessScope, signer: LocalAccount, market: Market): Promise<Hex> {
  return signer.signTypedData(message(scope, market))
}

/** Writes the header's value: `kv1.<payload>.<signature>.<access>`, all Base64url. */
export function formatVoucherToken({ signed, access }: VoucherToken): string {
  return `${formatVoucher(signed)}.${base64url.encode(Buffer.from(access.slice(2), 'hex'))}`
}

/**
 * Reads a header's value without checking its signatures.
 *
 * @throws ProtocolError `voucher_invalid`
 */
export function parseVoucherToken(token: string): VoucherToken {
  if (token.length > limits.voucherTokenBytesMax) {
    throw invalidVoucher(`it has more than ${limits.voucherTokenBytesMax} bytes`)
  }
  const end = token.lastIndexOf('.')
  const access = base64url.decode(token.slice(end + 1))
  if (token.split('.').length !== 4 || !access || !isCanonicalSignature(access)) {
    throw invalidVoucher('it is not of the form kv1.<payload>.<signature>.<access>')
  }
  return { signed: parseVoucher(token.slice(0, end)), access: toHex(access) }
}

/**
 * Whether the one who shows a voucher has the key that it names. Whether that key signed the voucher, too, is
 * `assertVoucherSigned`'s matter.
 *
 * @throws ProtocolError `voucher_invalid`
 */
export async function assertVoucherAccess(
  { signed: { voucher, signer }, access }: VoucherToken,
  market: Market,
): Promise<void> {
  const found = await recoverTypedDataAddress({ ...message(voucher, market), signature: access }).catch(
    () => undefined,
  )
  if (found !== signer)
    throw invalidVoucher('its access was not signed by its signer, for this epoch and market')
}
