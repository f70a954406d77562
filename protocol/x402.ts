import { type Address, type Hex, hashTypedData, recoverTypedDataAddress, type TypedDataDomain } from 'viem'
import { z } from 'zod'
import { utf8 } from './base/bytes.ts'
import { parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, describeIssues, usdcSchema } from './schema.ts'
import type { Usdc } from './usdc.ts'

/**
 * x402 version 2, as far as this network speaks it: the scheme `exact` with EIP-3009, by which anybody who has USDC in a
 * wallet pays one call, without an escrow. https://github.com/x402-foundation/x402, specs/.
 */

/** Lower case, as requests have them; each holds Base64 of JSON. */
export const x402Headers = {
  /** On a 402: what would pay. */
  required: 'payment-required',
  /** On a request: the payment. */
  signature: 'payment-signature',
  /** On an answer: what became of the payment. */
  response: 'payment-response',
} as const

/** What a call costs, as x402 asks for it. */
export interface PaymentTerms {
  readonly chainId: number
  readonly asset: Token
  readonly payTo: Address
  readonly amountUsdc: Usdc
  /** How long the payment must stay valid from when it is signed. */
  readonly maxTimeoutSeconds: number
}

/** A token that can be moved by signed authorizations, with what its signatures are made for. */
export interface Token {
  readonly address: Address
  /** Of the token's EIP-712 domain; the same token has different names on different chains. */
  readonly name: string
  readonly version: string
}

/** EIP-3009: whoever has this with its signature can move the amount from the one account to the other, once. */
export interface Authorization {
  readonly from: Address
  readonly to: Address
  readonly valueUsdc: Usdc
  /** Seconds since 1970; not valid at that second yet. */
  readonly validAfter: number
  /** Seconds since 1970; not valid at that second any more. */
  readonly validBefore: number
  readonly nonce: Hex
}

/** A payment as a request carries it. Nobody has checked anything yet but its form. */
export interface Payment {
  /** What the payer says that it was asked for. */
  readonly accepted: {
    readonly scheme: string
    readonly network: string
    readonly asset: string
    readonly payTo: string
    readonly amount: string
  }
  readonly authorization: Authorization
  /** 65 bytes of a key, or whatever the payer's contract takes (ERC-1271). */
  readonly signature: Hex
  /** `id` of the extension `payment-identifier`: what makes two payments one. */
  readonly identifier: string | undefined
}

/** What became of a payment. */
export interface PaymentResult {
  readonly success: boolean
  /** Why not; `settlement_pending` where nobody knows yet. */
  readonly errorReason?: string
  /** The transaction that moves the money, once there is one. */
  readonly transaction: Hex | undefined
  readonly chainId: number
  readonly payer: Address
}

/** The chain by its CAIP-2 name. */
export const networkOf = (chainId: number): string => `eip155:${chainId}`

/** What is asked for, as a 402's `accepts` has it. */
export function formatTerms({ chainId, asset, payTo, amountUsdc, maxTimeoutSeconds }: PaymentTerms) {
  return {
    scheme: 'exact',
    network: networkOf(chainId),
    amount: amountUsdc.toString(),
    asset: asset.address,
    payTo,
    maxTimeoutSeconds,
    extra: { name: asset.name, version: asset.version, assetTransferMethod: 'eip3009' },
  }
}

/** The value of `PAYMENT-REQUIRED`. */
export function formatPaymentRequired({
  url,
  error,
  terms,
}: {
  url: string
  error: string
  terms: PaymentTerms
}): string {
  return encode({
    x402Version: 2,
    error,
    resource: { url: url.length <= limits.x402UrlBytesMax ? url : (url.split('?')[0] ?? '') },
    accepts: [formatTerms(terms)],
    extensions: { [identifierKey]: identifierOffer },
  })
}

/** The value of `PAYMENT-RESPONSE`. */
export function formatPaymentResult({ chainId, transaction, ...result }: PaymentResult): string {
  return encode({ ...result, transaction: transaction ?? '', network: networkOf(chainId) })
}

/** x402's extension `payment-identifier`: a client may name a payment, so that a repetition costs nothing. */
const identifierKey = 'payment-identifier'
const identifierOffer = {
  info: { required: false },
  schema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: {
      required: { type: 'boolean' },
      id: { type: 'string', minLength: 16, maxLength: 128 },
    },
    required: ['required'],
  },
}

const shortText = z.string().min(1).max(128)
const hexText = (bytesMin: number, bytesMax: number) =>
  z
    .string()
    .regex(new RegExp(`^0x(?:[0-9a-fA-F]{2}){${bytesMin},${bytesMax}}$`), 'Expected bytes as 0x…')
    .transform((text) => text.toLowerCase() as Hex)
const secondsText = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,12})$/, 'Expected seconds since 1970, as a decimal string')
  .transform(Number)

const paymentSchema = z.object({
  x402Version: z.literal(2),
  accepted: z.object({
    scheme: shortText,
    network: shortText,
    asset: shortText,
    payTo: shortText,
    amount: shortText,
  }),
  payload: z.object({
    signature: hexText(1, limits.x402SignatureBytesMax),
    authorization: z.object({
      from: addressSchema,
      to: addressSchema,
      value: usdcSchema,
      validAfter: secondsText,
      validBefore: secondsText,
      nonce: hexText(32, 32),
    }),
  }),
  extensions: z
    .object({
      [identifierKey]: z
        .object({
          info: z.object({
            id: z
              .string()
              .regex(/^[A-Za-z0-9_-]{16,128}$/, 'Expected 16 to 128 letters, digits, - and _')
              .optional(),
          }),
        })
        .optional(),
    })
    .nullish(),
})

/** Reads a `PAYMENT-SIGNATURE`. @throws ProtocolError `payment_invalid` */
export function parsePayment(header: string): Payment {
  const { accepted, payload, extensions } = decode(header, paymentSchema)
  const { value, ...authorization } = payload.authorization
  return {
    accepted,
    authorization: { ...authorization, valueUsdc: value },
    signature: payload.signature,
    identifier: extensions?.[identifierKey]?.info.id,
  }
}

const resultSchema = z.object({
  success: z.boolean(),
  errorReason: z.string().max(256).optional(),
  transaction: z.union([z.literal(''), hexText(32, 32)]),
  network: z.string().regex(/^eip155:[1-9]\d{0,14}$/),
  payer: addressSchema,
})

/** Reads a `PAYMENT-RESPONSE`. @throws ProtocolError `payment_invalid` */
export function parsePaymentResult(header: string): PaymentResult {
  const { success, errorReason, transaction, network, payer } = decode(header, resultSchema)
  return {
    success,
    ...(errorReason !== undefined && { errorReason }),
    transaction: transaction === '' ? undefined : transaction,
    chainId: Number(network.slice('eip155:'.length)),
    payer,
  }
}

const requiredSchema = z.object({
  x402Version: z.literal(2),
  accepts: z
    .array(z.object({ scheme: shortText, network: shortText }).loose())
    .min(1)
    .max(16),
})

const termsSchema = z.object({
  scheme: z.literal('exact'),
  network: z.string().regex(/^eip155:[1-9]\d{0,14}$/),
  amount: usdcSchema,
  asset: addressSchema,
  payTo: addressSchema,
  maxTimeoutSeconds: z.number().int().min(1).max(limits.x402WindowSecondsMax),
  extra: z.object({
    name: shortText,
    version: shortText,
    assetTransferMethod: z.literal('eip3009').optional(),
  }),
})

/** Reads the terms of a `PAYMENT-REQUIRED` that can be met here; others are left out. @throws ProtocolError `payment_invalid` */
export function parsePaymentRequired(header: string): PaymentTerms[] {
  return decode(header, requiredSchema).accepts.flatMap((offer) => {
    const parsed = termsSchema.safeParse(offer)
    if (!parsed.success) return []
    const { network, amount, asset, payTo, maxTimeoutSeconds, extra } = parsed.data
    return {
      chainId: Number(network.slice('eip155:'.length)),
      asset: { address: asset, name: extra.name, version: extra.version },
      payTo,
      amountUsdc: amount,
      maxTimeoutSeconds,
    }
  })
}

function encode(value: unknown): string {
  return Buffer.from(utf8.encode(JSON.stringify(value))).toString('base64')
}

function decode<T extends z.ZodType>(header: string, schema: T): z.output<T> {
  if (header.length > limits.x402HeaderBytesMax) {
    throw invalid(`it has more than ${limits.x402HeaderBytesMax} bytes`)
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(header)) throw invalid('it is not Base64')
  const json = parseJson(Buffer.from(header, 'base64'))
  if (json === undefined) throw invalid('it is not JSON')
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw invalid(describeIssues(parsed.error))
  return parsed.data
}

const invalid = (detail: string) =>
  new ProtocolError('payment_invalid', `The x402 payment cannot be read: ${detail}.`, {
    hint: 'Send x402 version 2: Base64 of JSON, as an x402 client makes it from PAYMENT-REQUIRED.',
  })

export interface AuthorizationDomain {
  readonly chainId: number
  readonly token: Token
}

/** What a token's signatures are made for. */
export const tokenDomain = ({ chainId, token }: AuthorizationDomain): TypedDataDomain => ({
  name: token.name,
  version: token.version,
  chainId,
  verifyingContract: token.address,
})

const authorizationMessage = (authorization: Authorization, domain: AuthorizationDomain) =>
  ({
    domain: tokenDomain(domain),
    types: {
      TransferWithAuthorization: [
        { name: 'from', type: 'address' },
        { name: 'to', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'validAfter', type: 'uint256' },
        { name: 'validBefore', type: 'uint256' },
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'TransferWithAuthorization',
    message: {
      from: authorization.from,
      to: authorization.to,
      value: authorization.valueUsdc,
      validAfter: BigInt(authorization.validAfter),
      validBefore: BigInt(authorization.validBefore),
      nonce: authorization.nonce,
    },
  }) as const

/** What is signed. */
export const hashAuthorization = (authorization: Authorization, domain: AuthorizationDomain): Hex =>
  hashTypedData(authorizationMessage(authorization, domain))

/** The key that signed, or undefined for bytes that no key signed. */
export function recoverAuthorizationSigner(
  authorization: Authorization,
  signature: Hex,
  domain: AuthorizationDomain,
): Promise<Address | undefined> {
  return recoverTypedDataAddress({ ...authorizationMessage(authorization, domain), signature }).catch(
    () => undefined,
  )
}

/** Whether a signature comes wrapped with what would deploy its wallet first (ERC-6492); tokens take none of those. */
export const isForUndeployedWallet = (signature: Hex): boolean => signature.endsWith(erc6492Suffix)

const erc6492Suffix = '6492'.repeat(16)

/** What a payment has, and what it must have instead. */
export interface Mismatch {
  readonly what: 'scheme' | 'network' | 'asset' | 'payTo' | 'amount'
  readonly found: string
  readonly wanted: string
}

/**
 * Compares a payment with what was asked for, the amount only where it is given. What is signed decides; what was
 * accepted must agree with it, or the payer means something else than it signs.
 */
export function findMismatch(
  { accepted, authorization }: Payment,
  {
    chainId,
    asset,
    payTo,
    amountUsdc,
  }: Pick<PaymentTerms, 'chainId' | 'asset' | 'payTo'> & Partial<PaymentTerms>,
): Mismatch | undefined {
  const amount = (amountUsdc ?? authorization.valueUsdc).toString()
  const fields: readonly (readonly [Mismatch['what'], found: string, wanted: string])[] = [
    ['scheme', accepted.scheme, 'exact'],
    ['network', accepted.network, networkOf(chainId)],
    ['asset', accepted.asset, asset.address],
    ['payTo', accepted.payTo, payTo],
    ['payTo', authorization.to, payTo],
    ['amount', authorization.valueUsdc.toString(), amount],
    ['amount', accepted.amount, amount],
  ]
  const wrong = fields.find(([, found, wanted]) => found.toLowerCase() !== wanted.toLowerCase())
  return wrong && { what: wrong[0], found: wrong[1], wanted: wrong[2] }
}

export type PaymentVerdict =
  | { readonly kind: 'covers' }
  | ({ readonly kind: 'mismatch' } & Mismatch)
  | { readonly kind: 'not_yet_valid' }
  | { readonly kind: 'expires_too_soon'; readonly neededUntil: number }
  | { readonly kind: 'valid_too_long'; readonly validUntilMax: number }

/**
 * Whether a payment is what was asked for. Whose signature it has, and whether the money is there, is not decided here.
 *
 * @param neededSeconds - For how long it must be valid from now on, so that it can be settled after the call.
 */
export function decidePayment(
  payment: Payment,
  terms: PaymentTerms,
  { nowSeconds, neededSeconds }: { nowSeconds: number; neededSeconds: number },
): PaymentVerdict {
  const mismatch = findMismatch(payment, terms)
  if (mismatch) return { kind: 'mismatch', ...mismatch }
  const { validAfter, validBefore } = payment.authorization
  if (validAfter >= nowSeconds) return { kind: 'not_yet_valid' }
  const neededUntil = nowSeconds + neededSeconds
  if (validBefore < neededUntil) return { kind: 'expires_too_soon', neededUntil }
  const validUntilMax = nowSeconds + limits.x402WindowSecondsMax
  return validBefore > validUntilMax ? { kind: 'valid_too_long', validUntilMax } : { kind: 'covers' }
}
