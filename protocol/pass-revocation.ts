import { hashTypedData, type LocalAccount } from 'viem'
import { z } from 'zod'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, hexSchema, secondsSchema } from './schema.ts'
import { type AskContract, findSigner } from './signed-by.ts'
import { formatSignedToken, splitSignedToken } from './signed-token.ts'
import { type Market, marketDomain } from './typed-data.ts'

const revocationSchema = z.strictObject({
  payer: addressSchema,
  /** Of the pass. */
  id: hexSchema(32),
  /** Until when it has to be remembered: the end of the pass, or later. */
  validBefore: secondsSchema,
})

/**
 * A payer takes a pass back. It is good at every provider of the market, for ever, and whoever brings it: it can only
 * ever stop the payer's own pass.
 */
export type PassRevocation = z.output<typeof revocationSchema>

export const passRevocationTypes = {
  PassRevocation: [
    { name: 'payer', type: 'address' },
    { name: 'id', type: 'bytes32' },
    { name: 'validBefore', type: 'uint64' },
  ],
} as const

/** Where a provider takes revocations: the body of a POST is the token. */
export const passRevocationPath = '/_/passes/revoke'

const prefix = 'kr1'

const message = (revocation: PassRevocation, market: Market) =>
  ({
    types: passRevocationTypes,
    primaryType: 'PassRevocation',
    domain: marketDomain(market),
    message: { ...revocation, validBefore: BigInt(revocation.validBefore) },
  }) as const

/** @returns the token: `kr1.<payload>.<signature>`, both Base64url. */
export async function signPassRevocation(
  revocation: PassRevocation,
  payer: LocalAccount,
  market: Market,
): Promise<string> {
  return formatSignedToken(prefix, revocation, await payer.signTypedData(message(revocation, market)))
}

/**
 * Reads a token, and gives the check of its signature, which costs a thousand times as much.
 *
 * @throws ProtocolError `bad_request`; the check `signature_invalid`
 */
export function parsePassRevocation(
  token: string,
  market: Market,
): { readonly revocation: PassRevocation; verify(askContract?: AskContract): Promise<PassRevocation> } {
  const split = splitSignedToken(prefix, token, limits.passRevocationBytesMax)
  const parsed = split && revocationSchema.safeParse(split.payload)
  if (!split || !parsed?.success || formatSignedToken(prefix, parsed.data, split.signature) !== token) {
    throw new ProtocolError('bad_request', 'This is no revocation of a pass: kr1.<payload>.<signature>.', {
      hint: 'Revoke a pass with "khachapuri pass revoke".',
    })
  }
  const revocation = parsed.data
  return {
    revocation,
    async verify(askContract) {
      const hash = hashTypedData(message(revocation, market))
      const claim = { address: revocation.payer, hash, signature: split.signature }
      if (await findSigner(claim, askContract)) return revocation
      throw new ProtocolError(
        'signature_invalid',
        `The revocation was not signed by ${revocation.payer} for this market.`,
        { hint: 'Only the payer itself takes a pass back: "khachapuri pass revoke".' },
      )
    },
  }
}
