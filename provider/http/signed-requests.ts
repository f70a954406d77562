import type { Context } from 'hono'
import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import type { AskContract } from '../../protocol/signed-by.ts'
import {
  assertFresh,
  parseStatementRequest,
  type StatementRequest,
  statementTokenOf,
} from '../../protocol/statement-request.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Asker } from '../admission/asker.ts'
import { createKnownTokens } from '../admission/known-tokens.ts'

/** Requests by which an account asks for what concerns it alone. */
export interface SignedRequests {
  /**
   * @param admit - Throws where an account has nothing to ask for here. It hears of one whose signature nobody has checked
   * yet: names cost nothing, so those that mean nothing must not count as failures of others, nor have us compute.
   * @returns whose account it is. @throws ProtocolError `signature_invalid`, `too_many_requests`, what `admit` throws
   */
  authorize(c: Context, admit: (account: Address) => void | Promise<void>): Promise<Address>
}

export interface SignedRequestsDeps {
  readonly clock: Clock
  /** For accounts that are contracts; absent where they cannot be asked. */
  readonly askContract?: AskContract | undefined
}

export interface SignedRequestsOptions {
  readonly provider: Address
  readonly market: Market
}

export function createSignedRequests(
  { clock, askContract }: SignedRequestsDeps,
  { provider, market }: SignedRequestsOptions,
): SignedRequests {
  const nowSeconds = () => Math.floor(clock.nowMs() / 1000)
  const requests = createKnownTokens<StatementRequest>(
    { clock },
    {
      read(token) {
        const { request, verify } = parseStatementRequest(token, market)
        if (request.provider !== provider) throw notForUs(request.provider, provider)
        assertFresh(request, nowSeconds())
        return { run: () => verify(askContract) }
      },
      cachedMax: limits.statementRequestsCachedMax,
      failuresPerSecondMax: limits.statementRequestFailuresPerSecondMax,
      noun: 'signed requests',
    },
  )
  return {
    async authorize(c, admit) {
      const token = statementTokenOf(c.req.header('authorization'))
      if (token === undefined) {
        throw new ProtocolError('signature_invalid', 'This is shown to the account that it concerns only.', {
          hint: 'Ask with "khachapuri statement" or "khachapuri logs": they sign the request.',
        })
      }
      await admit(parseStatementRequest(token, market).request.payer)
      const request = await requests.verify(token, askerOf(c))
      assertFresh(request, nowSeconds())
      return request.payer
    },
  }
}

/** Behind the pages is the same kind of request as behind a call. */
export function askerOf(c: Context): Asker {
  const { incoming } = (c.env ?? {}) as { readonly incoming?: IncomingRequest }
  return { headers: { 'x-forwarded-for': c.req.header('x-forwarded-for') }, socket: incoming?.socket ?? {} }
}

const notForUs = (named: Address, provider: Address) =>
  new ProtocolError('signature_invalid', `The request is signed for ${named}.`, {
    hint: `This provider is ${provider}.`,
    details: { provider },
  })
