import { hashTypedData, type LocalAccount } from 'viem'
import { z } from 'zod'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, secondsSchema } from './schema.ts'
import { type AskContract, findSigner } from './signed-by.ts'
import { formatSignedToken, splitSignedToken } from './signed-token.ts'
import { type Market, marketDomain } from './typed-data.ts'

const requestSchema = z.strictObject({
  payer: addressSchema,
  provider: addressSchema,
  /** Soon: at most `statementRequestAgeSecondsMax` from now. */
  validBefore: secondsSchema,
})

/**
 * A payer asks a provider what it has written down about it. It changes nothing, so who sends it once more reads the
 * same until it ends; another provider, escrow or chain does not take it.
 */
export type StatementRequest = z.output<typeof requestSchema>

export const statementRequestTypes = {
  StatementRequest: [
    { name: 'payer', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'validBefore', type: 'uint64' },
  ],
} as const

const prefix = 'ks1'

const message = (request: StatementRequest, market: Market) =>
  ({
    types: statementRequestTypes,
    primaryType: 'StatementRequest',
    domain: marketDomain(market),
    message: { ...request, validBefore: BigInt(request.validBefore) },
  }) as const

/** @returns the token, `ks1.<payload>.<signature>`, for `Authorization: Bearer …`. */
export async function signStatementRequest(
  request: StatementRequest,
  payer: LocalAccount,
  market: Market,
): Promise<string> {
  return formatSignedToken(prefix, request, await payer.signTypedData(message(request, market)))
}

/** The token of an `Authorization` header, if that holds one. */
export function statementTokenOf(authorization: string | undefined): string | undefined {
  return /^Bearer +(ks1\.\S*) *$/i.exec(authorization ?? '')?.[1]
}

/**
 * Reads a token, and gives the check of its signature. `assertFresh` looks at its time.
 *
 * @throws ProtocolError `signature_invalid`
 */
export function parseStatementRequest(
  token: string,
  market: Market,
): { readonly request: StatementRequest; verify(askContract?: AskContract): Promise<StatementRequest> } {
  const split = splitSignedToken(prefix, token, limits.statementRequestBytesMax)
  const parsed = split && requestSchema.safeParse(split.payload)
  if (!split || !parsed?.success || formatSignedToken(prefix, parsed.data, split.signature) !== token)
    throw invalid('It is not of the form ks1.<payload>.<signature>, with canonical JSON.')
  const request = parsed.data
  return {
    request,
    async verify(askContract) {
      const hash = hashTypedData(message(request, market))
      const claim = { address: request.payer, hash, signature: split.signature }
      if (await findSigner(claim, askContract)) return request
      throw invalid(`It was not signed by ${request.payer} for this market.`)
    },
  }
}

/** @throws ProtocolError `signature_invalid` for a request that has ended, or that ends too late */
export function assertFresh({ validBefore }: StatementRequest, nowSeconds: number): void {
  const secondsLeft = validBefore - nowSeconds
  if (secondsLeft > 0 && secondsLeft <= limits.statementRequestAgeSecondsMax) return
  throw invalid(
    secondsLeft <= 0
      ? 'It has ended.'
      : `It is for more than ${limits.statementRequestAgeSecondsMax} seconds from now.`,
  )
}

export const invalid = (why: string) =>
  new ProtocolError('signature_invalid', `The request for a statement is not valid. ${why}`, {
    hint: 'Ask with "khachapuri statement"; if it stays, compare the clocks.',
  })
