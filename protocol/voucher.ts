import { type Address, type Hex, isAddressEqual, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { z } from 'zod'
import { base64url, toHex } from './base/bytes.ts'
import { parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, usdcSchema } from './schema.ts'
import { formatSignedToken, isCanonicalSignature } from './signed-token.ts'
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

/** A voucher with the key that signed it: the payer's own, or a session key with a grant of its own. */
export interface SignedVoucher {
  readonly voucher: Voucher
  readonly signer: Address
  /** 65 bytes, with the low `s` that the escrow takes. */
  readonly signature: Hex
}

const uint32Max = 2 ** 32 - 1
const callsSchema = z.number().int().min(0).max(uint32Max)
const epochSchema = z.number().int().min(0).max(255)

const payloadSchema = z.strictObject({
  payer: addressSchema,
  provider: addressSchema,
  /** Left out where the payer signs itself. */
  signer: addressSchema.optional(),
  maxAmount: usdcSchema,
  maxCalls: callsSchema,
  epoch: epochSchema,
})

const prefix = 'kv1'

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

/** Writes `kv1.<payload>.<signature>`, both Base64url. It proves what was promised; to call, it takes a `VoucherToken`. */
export function formatVoucher({ voucher, signer, signature }: SignedVoucher): string {
  const { payer, provider, maxAmount, maxCalls, epoch } = voucher
  const isOwn = isAddressEqual(signer, payer)
  const payload = { payer, provider, ...(!isOwn && { signer }), maxAmount, maxCalls, epoch }
  return formatSignedToken(prefix, payload, signature)
}

/**
 * Reads a voucher without its signature's check, which costs a thousand times as much. A signature that the escrow
 * would not take as it is (a high `s`, another length, another last byte) is no signature here either: who accepted it
 * would not be paid.
 *
 * @throws ProtocolError `voucher_invalid`
 */
export function parseVoucher(token: string): SignedVoucher {
  if (token.length > limits.voucherBytesMax)
    throw invalidVoucher(`it has more than ${limits.voucherBytesMax} bytes`)
  const [kind, payload = '', signature = '', ...rest] = token.split('.')
  const payloadBytes = base64url.decode(payload)
  const signatureBytes = base64url.decode(signature)
  if (kind !== prefix || rest.length > 0 || !payloadBytes || !signatureBytes) {
    throw invalidVoucher('it is not of the form kv1.<payload>.<signature>')
  }
  if (!isCanonicalSignature(signatureBytes)) {
    throw invalidVoucher(
      'its signature is not one of 65 bytes with a low s, which is all that the escrow takes',
    )
  }
  const parsed = payloadSchema.safeParse(parseJson(payloadBytes))
  if (!parsed.success) throw invalidVoucher('its payload does not hold the fields of a voucher')
  const { signer = parsed.data.payer, ...voucher } = parsed.data
  const signed = { voucher, signer, signature: toHex(signatureBytes) }
  if (formatVoucher(signed) !== token)
    throw invalidVoucher('its payload is not canonical JSON (RFC 8785) with checksummed addresses')
  return signed
}

/**
 * Whether a voucher was signed by the key that it names. Whether that key has a grant is the ledger's matter.
 *
 * @throws ProtocolError `voucher_invalid`
 */
export async function assertVoucherSigned(
  { voucher, signer, signature }: SignedVoucher,
  market: Market,
): Promise<void> {
  if ((await recoverVoucherSigner(voucher, signature, market)) === signer) return
  throw invalidVoucher('it was altered, or signed by another key or for another market')
}

export const invalidVoucher = (why: string) =>
  new ProtocolError('voucher_invalid', `The voucher is not valid: ${why}.`, {
    hint: 'Sign it anew, with the domain of this market and the key that the grant names (of a contract: a session key).',
  })

/** What a grant's voucher covers, and what is on it. */
export interface VoucherUse {
  readonly voucher: Pick<Voucher, 'maxAmount' | 'maxCalls'>
  /** Charged and reserved, over all epochs. */
  readonly owedUsdc: Usdc
  readonly calls: number
  readonly priceUsdc: Usdc
}

/** Whether a voucher covers one more call. */
export function coversCall({ voucher, owedUsdc, calls, priceUsdc }: VoucherUse): boolean {
  return owedUsdc + priceUsdc <= voucher.maxAmount && calls < voucher.maxCalls
}

/** Whether a voucher promises at least what another one does, in both numbers: only such a one may take its place. */
export function isAtLeast(
  voucher: Pick<Voucher, 'maxAmount' | 'maxCalls'>,
  other: Pick<Voucher, 'maxAmount' | 'maxCalls'>,
): boolean {
  return voucher.maxAmount >= other.maxAmount && voucher.maxCalls >= other.maxCalls
}

/**
 * What a refused voucher needs to become a good one: the members that `voucher_too_low` and `voucher_epoch_other` have
 * beside those of every 402.
 */
export interface Correction {
  /** The grant's epoch now. */
  readonly epoch: number
  /** The highest voucher of this epoch that was accepted. */
  readonly accepted: SignedVoucher | undefined
  /** Charged so far, over all epochs. */
  readonly chargedUsdc: Usdc
  readonly chargedCalls: number
  /** The same with the calls in flight. */
  readonly owedUsdc: Usdc
  readonly owedCalls: number
}

const correctionSchema = z.object({
  epoch: epochSchema,
  accepted: z.string().max(limits.voucherBytesMax).nullable(),
  charged: usdcSchema,
  chargedCalls: callsSchema,
  owed: usdcSchema,
  owedCalls: callsSchema,
})

export function correctionDetails({
  epoch,
  accepted,
  chargedUsdc,
  chargedCalls,
  owedUsdc,
  owedCalls,
}: Correction): Readonly<Record<string, unknown>> {
  return {
    epoch,
    accepted: accepted ? formatVoucher(accepted) : null,
    charged: chargedUsdc.toString(),
    chargedCalls,
    owed: owedUsdc.toString(),
    owedCalls,
  }
}

/** Reads the correction of a problem document. @returns undefined where there is none, or none that makes sense. */
export function parseCorrection(problem: unknown): Correction | undefined {
  const parsed = correctionSchema.safeParse(problem)
  if (!parsed.success) return undefined
  const { epoch, accepted, charged, chargedCalls, owed, owedCalls } = parsed.data
  try {
    return {
      epoch,
      accepted: accepted === null ? undefined : parseVoucher(accepted),
      chargedUsdc: charged,
      chargedCalls,
      owedUsdc: owed,
      owedCalls,
    }
  } catch {
    return undefined
  }
}
