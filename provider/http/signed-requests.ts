import type { Context } from 'hono'
import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import {
  assertFresh,
  parseStatementRequest,
  type StatementRequest,
  statementTokenOf,
} from '../../protocol/statement-request.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { createKnownTokens } from '../admission/known-tokens.ts'

/** Requests by which an account asks for what concerns it alone. */
export interface SignedRequests {
  /** @returns whose account it is. @throws ProtocolError `signature_invalid`, `too_many_requests`, what `admit` throws */
  authorize(c: Context): Promise<Address>
}

export interface SignedRequestsOptions {
  readonly provider: Address
  readonly market: Market
  /** Throws where nothing is known of an account: only who has something here makes us compute. */
  readonly admit: (account: Address) => Promise<void>
}

export function createSignedRequests(
  { clock }: { clock: Clock },
  { provider, market, admit }: SignedRequestsOptions,
): SignedRequests {
  const nowSeconds = () => Math.floor(clock.nowMs() / 1000)
  const requests = createKnownTokens<StatementRequest>(
    { clock },
    {
      read(token) {
        const { request, verify } = parseStatementRequest(token, market)
        if (request.provider !== provider) throw notForUs(request.provider, provider)
        assertFresh(request, nowSeconds())
        const run = async () => {
          await admit(request.payer)
          return verify()
        }
        return { name: request.payer, run }
      },
      cachedMax: limits.statementRequestsCachedMax,
      failuresPerSecondMax: limits.statementRequestFailuresPerSecondMax,
      noun: 'signed requests',
    },
  )
  return {
    async authorize(c) {
      const token = statementTokenOf(c.req.header('authorization'))
      if (token === undefined) {
        throw new ProtocolError('signature_invalid', 'This is shown to the account that it concerns only.', {
          hint: 'Ask with "khachapuri statement" or "khachapuri logs": they sign the request.',
        })
      }
      const request = await requests.verify(token)
      assertFresh(request, nowSeconds())
      return request.payer
    },
  }
}

const notForUs = (named: Address, provider: Address) =>
  new ProtocolError('signature_invalid', `The request is signed for ${named}.`, {
    hint: `This provider is ${provider}.`,
    details: { provider },
  })
