import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Credits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type PassRevocation,
  parsePassRevocation,
  passRevocationPath,
} from '../../protocol/pass-revocation.ts'
import type { AskContract } from '../../protocol/signed-by.ts'
import {
  chargedReceiptToJson,
  laneToJson,
  passSpendingToJson,
  statementPaths,
} from '../../protocol/statement.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { createKnownTokens } from '../admission/known-tokens.ts'
import { createMeters } from '../admission/meters.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { askerOf, createSignedRequests } from './signed-requests.ts'

export interface AccountPagesDeps {
  readonly clock: Clock
  /** For payers that are contracts; absent where they cannot be asked. */
  readonly askContract?: AskContract | undefined
  readonly ledger: Pick<Ledger, 'history' | 'revokedPasses'>
  readonly grants: { grant(payer: Address): Grant | undefined; credits(user: Address): Credits | undefined }
}

export interface AccountPagesOptions {
  readonly provider: Address
  readonly market: Market
}

/**
 * What a payer may ask of its own account here, and take back. Only the payer's signature opens it: what somebody calls,
 * and how often, is nobody else's affair.
 */
export function createAccountPages(deps: AccountPagesDeps, { provider, market }: AccountPagesOptions): Hono {
  const { clock, ledger, grants, askContract } = deps
  const app = new Hono()
  const requests = createSignedRequests({ clock, askContract }, { provider, market })
  const authorize = (c: Context) =>
    requests.authorize(c, async (payer) => {
      if (!(await ledger.history.knowsPayer(payer))) throw unknownPayer(payer)
    })
  const taken = createMeters({ clock })
  /** The same pass can be revoked until ever later dates, each of them signed and on disk. */
  function assertRoom({ payer }: PassRevocation): void {
    const perMinuteMax = limits.passRevocationsPerPayerPerMinuteMax
    if (taken.isFull(payer, perMinuteMax))
      throw tooManyRevocations(perMinuteMax, taken.secondsToRoom(payer, perMinuteMax))
  }
  const revocations = createKnownTokens<PassRevocation>(
    { clock },
    {
      read(token) {
        const { revocation, verify } = parsePassRevocation(token, market)
        const { payer } = revocation
        // Nobody else has a pass that could pay here.
        if (grants.grant(payer) || grants.credits(payer)) {
          return {
            assertRoom: () => assertRoom(revocation),
            run: () => verify(askContract),
            count: () => taken.add(payer, limits.passRevocationsPerPayerPerMinuteMax),
          }
        }
        throw new ProtocolError('grant_missing', `${payer} has no grant here, so none of its passes pays.`, {
          hint: 'Where you make a grant later, revoke the pass again after that.',
          details: { payer, provider },
        })
      },
      cachedMax: limits.passesCachedMax,
      failuresPerSecondMax: limits.passFailuresPerSecondMax,
      noun: 'revocations',
    },
  )
  const page = (c: Context, entries: readonly object[]) => {
    c.header('cache-control', 'no-store')
    return c.json({ entries })
  }

  app.get(statementPaths.lanes, async (c) => {
    const payer = await authorize(c)
    const lanes = await ledger.history.readLanes({ payer, after: readCount(c, 'after', '0') })
    return page(c, lanes.map(laneToJson))
  })

  app.get(statementPaths.receipts, async (c) => {
    const payer = await authorize(c)
    const at = { payer, lane: readCount(c, 'lane'), after: readCount(c, 'after', '0') }
    return page(c, (await ledger.history.readLaneReceipts(at)).map(chargedReceiptToJson))
  })

  let proofsRead = 0
  app.get(statementPaths.proofs, async (c) => {
    const payer = await authorize(c)
    const at = { payer, lane: readCount(c, 'lane'), after: readCount(c, 'after', '0') }
    // Each may hash all receipts of a settlement.
    if (proofsRead >= limits.proofPagesAtOnceMax) throw busy()
    proofsRead += 1
    try {
      return page(c, await ledger.history.readUsageProofs(at))
    } finally {
      proofsRead -= 1
    }
  })

  app.get(statementPaths.passes, async (c) => {
    const payer = await authorize(c)
    const passes = await ledger.history.readPasses({ payer, after: readPassId(c) })
    return page(c, passes.map(passSpendingToJson))
  })

  app.post(
    passRevocationPath,
    bodyLimit({ maxSize: limits.passRevocationBytesMax, onError: tooLarge }),
    async (c) => {
      const revocation = await revocations.verify((await c.req.text()).trim(), askerOf(c))
      if (!ledger.revokedPasses.covers(revocation)) await ledger.revokedPasses.revoke(revocation)
      return c.json({ payer: revocation.payer, id: revocation.id, provider, isRevoked: true })
    },
  )

  return app
}

/** @param otherwise - What stands for one that is left out; where there is nothing, it must be there. */
function readCount(c: Context, name: string, otherwise = ''): number {
  const text = c.req.query(name) ?? otherwise
  const count = /^\d{1,15}$/.test(text) ? Number(text) : undefined
  if (count !== undefined) return count
  throw badQuery(`"${name}" is a number of an entry`)
}

function readPassId(c: Context): Hex | undefined {
  const text = c.req.query('after')
  if (text === undefined || /^0x[0-9a-f]{64}$/.test(text)) return text as Hex | undefined
  throw badQuery('"after" is the id of a pass')
}

const badQuery = (what: string) =>
  new ProtocolError('bad_request', `The page cannot be found: ${what}.`, {
    hint: 'Ask for the first page, and then for what comes after its last entry.',
  })

function tooLarge(): never {
  throw new ProtocolError(
    'body_too_large',
    `A revocation has at most ${limits.passRevocationBytesMax} bytes.`,
    { hint: 'Revoke a pass with "khachapuri pass revoke".' },
  )
}

const tooManyRevocations = (perMinuteMax: number, retryAfterSeconds: number) =>
  new ProtocolError('too_many_requests', `This payer revoked ${perMinuteMax} passes within a minute.`, {
    hint: `Send it again in ${retryAfterSeconds} s, or end the grant with "khachapuri revoke".`,
    details: { retryAfterSeconds },
  })

const busy = () =>
  new ProtocolError('too_many_requests', 'Others are shown proofs of their calls just now.', {
    hint: 'Send it again in 1 s.',
    details: { retryAfterSeconds: 1 },
  })

const unknownPayer = (payer: Address) =>
  new ProtocolError('not_found', `${payer} has never paid for a call here.`, {
    hint: 'Check which account is meant: see --account.',
    details: { payer },
  })
