import { Hono } from 'hono'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { statementPaths } from '../../protocol/statement.ts'
import type { Ledger } from '../ledger/ledger.ts'
import {
  createSignedRequests,
  type SignedRequestsDeps,
  type SignedRequestsOptions,
} from './signed-requests.ts'

export interface ProofPagesDeps extends SignedRequestsDeps {
  readonly ledger: Pick<Ledger, 'history'>
}

/** Shows a payer that calls of its own are under the usage root of a settlement. Each costs hashing, so few run at once. */
export function createProofPages(
  { ledger: { history }, ...deps }: ProofPagesDeps,
  options: SignedRequestsOptions,
): Hono {
  const requests = createSignedRequests(deps, options)
  let reading = 0

  return new Hono().get(statementPaths.proofs, async (c) => {
    const payer = await requests.authorize(c, async (named) => {
      if (!(await history.knowsPayer(named))) throw unknownPayer()
    })
    const [lane, after] = [c.req.query('lane') ?? '', c.req.query('after') ?? '0']
    if (![lane, after].every((text) => /^\d{1,15}$/.test(text))) throw badQuery()
    if (reading >= limits.proofPagesAtOnceMax) throw busy()
    reading += 1
    try {
      const at = { payer, lane: Number(lane), after: Number(after) }
      const entries = await history.readUsageProofs(at)
      c.header('cache-control', 'no-store')
      return c.json({ entries })
    } finally {
      reading -= 1
    }
  })
}

const unknownPayer = () =>
  new ProtocolError('not_found', 'This account has never paid for a call here.', {
    hint: 'Check which account is meant: see --account.',
  })

const badQuery = () =>
  new ProtocolError('bad_request', 'The page cannot be found: it needs "lane" and "after".', {
    hint: 'Ask with "khachapuri statement".',
  })

const busy = () =>
  new ProtocolError('too_many_requests', 'Others are shown proofs of their calls just now.', {
    hint: 'Send it again in 1 s.',
    details: { retryAfterSeconds: 1 },
  })
