import { type Context, Hono } from 'hono'
import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { type ProgramLogQuery, programLogEntryToJson, programLogPath } from '../../protocol/program-log.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Deployments } from '../deployments/deployments.ts'
import type { ProgramLog } from '../logs/program-log.ts'
import { createSignedRequests, type SignedRequestsDeps } from './signed-requests.ts'

export interface LogPagesDeps extends SignedRequestsDeps {
  readonly deployments: Pick<Deployments, 'read'>
  readonly programLog: Pick<ProgramLog, 'read'>
}

export interface LogPagesOptions {
  readonly provider: Address
  readonly market: Market
}

/** What a deployment's owner, and nobody else, may read of it. */
export function createLogPages(
  { deployments, programLog, ...deps }: LogPagesDeps,
  options: LogPagesOptions,
): Hono {
  const app = new Hono()
  const { authorize } = createSignedRequests(deps, options)
  app.get(programLogPath(':cid{[^/]+}'), async (c) => {
    const { spec, digest } = await deployments.read(c.req.param('cid') ?? '', c.req.raw.signal)
    await authorize(c, (asker) => {
      if (spec.owner !== asker) throw notYours(asker)
    })
    const page = programLog.read(digest, readQuery(c))
    c.header('cache-control', 'no-store')
    return c.json({ ...page, entries: page.entries.map(programLogEntryToJson) })
  })
  return app
}

function readQuery(c: Context): ProgramLogQuery {
  const [after, sinceMs] = [readCount(c, 'after'), readCount(c, 'since')]
  const status = c.req.query('status')
  const [, min, max] = /^(\d{3})-(\d{3})$/.exec(status ?? '') ?? []
  if (status !== undefined && min === undefined) throw badQuery('"status" is of the form 500-599')
  const search = c.req.query('search')
  if (search !== undefined && search.length > limits.programLogSearchCharsMax)
    throw badQuery(`"search" has at most ${limits.programLogSearchCharsMax} characters`)
  return {
    ...(after !== undefined && { after }),
    ...(sinceMs !== undefined && { sinceMs }),
    ...(min !== undefined && { status: { min: Number(min), max: Number(max) } }),
    ...(search !== undefined && { search }),
  }
}

function readCount(c: Context, name: string): number | undefined {
  const text = c.req.query(name)
  if (text === undefined) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw badQuery(`"${name}" is a whole number`)
}

const badQuery = (what: string) =>
  new ProtocolError('bad_request', `The log cannot be searched so: ${what}.`, {
    hint: 'Ask with "khachapuri logs".',
  })

const notYours = (asker: Address) =>
  new ProtocolError('signature_invalid', `The deployment is not one of ${asker}.`, {
    hint: 'Its logs are shown to the account that deployed it: see --account.',
  })
