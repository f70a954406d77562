import { type Address, type Hex, hashTypedData, type LocalAccount } from 'viem'
import { z } from 'zod'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, hexSchema, secondsSchema, usdcSchema } from './schema.ts'
import { type AskContract, findSigner, type SignatureClaim } from './signed-by.ts'
import { formatSignedToken, splitSignedToken } from './signed-token.ts'
import { type Market, marketDomain, typedDataTypes } from './typed-data.ts'
import type { Usdc } from './usdc.ts'

const passSchema = z.strictObject({
  payer: addressSchema,
  /** Who may be paid with it. `maxSpend` holds at each of them. */
  providers: z.array(addressSchema).min(1).max(limits.passProvidersMax),
  /** The SHA-256 in the deployment's CID, or zeros for any deployment. */
  deployment: hexSchema(32),
  maxPricePerCall: usdcSchema,
  maxSpend: usdcSchema,
  validAfter: secondsSchema,
  validBefore: secondsSchema,
  id: hexSchema(32),
})

/** A capped, expiring bearer token that a payer signs off chain, for plain curl. */
export type Pass = z.output<typeof passSchema>

export const anyDeployment: Hex = `0x${'00'.repeat(32)}`

const prefix = 'kp1'

const message = (pass: Pass, market: Market) =>
  ({
    types: { Pass: typedDataTypes.Pass },
    primaryType: 'Pass',
    domain: marketDomain(market),
    message: {
      ...pass,
      validAfter: BigInt(pass.validAfter),
      validBefore: BigInt(pass.validBefore),
    },
  }) as const

/** Signs a pass. @returns the token: `kp1.<payload>.<signature>`, both Base64url. */
export async function signPass(pass: Pass, payer: LocalAccount, market: Market): Promise<string> {
  const signature = await payer.signTypedData(message(pass, market))
  return formatSignedToken(prefix, pass, signature)
}

/** The token of an `Authorization` header, if that holds a pass; other schemes are the program's own affair. */
export function passTokenOf(authorization: string | undefined): string | undefined {
  const match = /^Bearer +(kp1\..*)$/i.exec(authorization ?? '')
  return match?.[1]?.trim()
}

/** What a token says, before anybody has checked who says it. */
export interface UnverifiedPass {
  readonly pass: Pass
  readonly signature: Hex
}

/**
 * Reads a token without its signature's check, which costs a thousand times as much.
 *
 * @throws ProtocolError `pass_invalid`
 */
export function parsePass(token: string): UnverifiedPass {
  if (token.length > limits.passBytesMax) throw invalidPass(`it has more than ${limits.passBytesMax} bytes`)
  const split = splitSignedToken(prefix, token, limits.passBytesMax)
  if (!split) throw invalidPass('it is not of the form kp1.<payload>.<signature>')
  const parsed = passSchema.safeParse(split.payload)
  if (!parsed.success) throw invalidPass('its payload does not hold the fields of a pass')
  const { signature } = split
  // One pass is one token: who holds it must not be able to write it in a second way, and have that checked, too.
  if (formatSignedToken(prefix, parsed.data, signature) !== token)
    throw invalidPass('its payload is not canonical JSON (RFC 8785) with checksummed addresses')
  return { pass: parsed.data, signature }
}

/**
 * Reads a token and checks its signature. Whether it covers a call is `decidePass`'s matter.
 *
 * @param askContract - For payers that are contracts; without it, none of them has signed.
 * @throws ProtocolError `pass_invalid`, and what `askContract` throws
 */
export async function verifyPass(token: string, market: Market, askContract?: AskContract): Promise<Pass> {
  const unverified = parsePass(token)
  await assertPassSigned(claimOfPass(unverified, market), askContract)
  return unverified.pass
}

/** What has to be so if a pass is to count. */
export const claimOfPass = ({ pass, signature }: UnverifiedPass, market: Market): SignatureClaim => ({
  address: pass.payer,
  hash: hashTypedData(message(pass, market)),
  signature,
})

/**
 * @returns who signed: a contract may take its word back, a key cannot. @throws as `verifyPass`
 */
export async function assertPassSigned(
  claim: SignatureClaim,
  askContract?: AskContract,
): Promise<'key' | 'contract'> {
  const signedBy = await findSigner(claim, askContract)
  if (signedBy) return signedBy
  throw invalidPass('it was altered, or signed by another key or for another market')
}

export const invalidPass = (why: string) =>
  new ProtocolError('pass_invalid', `The pass is not valid: ${why}.`, {
    hint: 'Make a new one with "khachapuri pass create".',
  })

export type PassVerdict =
  | { readonly kind: 'covers' }
  | { readonly kind: 'not_yet_valid' | 'expired' | 'other_provider' | 'other_deployment' }
  | { readonly kind: 'price_above_cap'; readonly capUsdc: Usdc }
  | { readonly kind: 'exhausted'; readonly leftUsdc: Usdc }

/** Whether a verified pass covers one more call. `spentUsdc` counts what is in flight, too. */
export function decidePass({
  pass,
  provider,
  deployment,
  priceUsdc,
  spentUsdc,
  nowSeconds,
}: {
  pass: Pass
  provider: Address
  deployment: Hex
  priceUsdc: Usdc
  spentUsdc: Usdc
  nowSeconds: number
}): PassVerdict {
  if (!pass.providers.includes(provider)) return { kind: 'other_provider' }
  if (pass.deployment !== anyDeployment && pass.deployment !== deployment) return { kind: 'other_deployment' }
  if (nowSeconds < pass.validAfter) return { kind: 'not_yet_valid' }
  if (nowSeconds >= pass.validBefore) return { kind: 'expired' }
  if (priceUsdc > pass.maxPricePerCall) return { kind: 'price_above_cap', capUsdc: pass.maxPricePerCall }
  if (spentUsdc + priceUsdc > pass.maxSpend) {
    return {
      kind: 'exhausted',
      leftUsdc: (pass.maxSpend > spentUsdc ? pass.maxSpend - spentUsdc : 0n) as Usdc,
    }
  }
  return { kind: 'covers' }
}
