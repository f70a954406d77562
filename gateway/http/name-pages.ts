import { Hono } from 'hono'
import { ProtocolError } from '../../protocol/errors.ts'
import { type Name, parseName } from '../../protocol/name.ts'
import type { KnownName, NameCache } from '../names/name-cache.ts'

export interface NamePagesDeps {
  readonly names: Pick<NameCache, 'resolve'>
  /** Where a name is called. */
  readonly urlOf: (name: Name) => string
}

/** `/_/names/<name>`: what this gateway goes by at the moment when it is called by a name. */
export function createNamePages({ names, urlOf }: NamePagesDeps): Hono {
  return new Hono().get('/_/names/:name', async (c) => {
    const name = parseName(c.req.param('name'))
    const answer = await names.resolve(name, c.req.raw.signal)
    if (answer.kind === 'refused') throw answer.error
    if (answer.kind === 'unknown') {
      throw new ProtocolError('name_unknown', `Nobody has registered the name "${name}".`, {
        hint: 'Register it: khachapuri name register <name> <cid> --provider <name>.',
        details: { name },
      })
    }
    const { record, staleMs } = answer
    return c.json(
      {
        ...describe(record),
        url: urlOf(name),
        owner: record.owner,
        resolver: record.resolver,
        block: Number(record.blockNumber),
        /** Seconds since it was read, where the chain cannot be reached now. */
        ageSeconds: staleMs === undefined ? null : Math.floor(staleMs / 1000),
      },
      200,
      { 'cache-control': 'no-cache' },
    )
  })
}

/** The records of a name that other software may rely on; a provider's `server` is the gateway's affair. */
function describe(record: KnownName) {
  const { name, kind } = record
  if (record.kind === 'provider') return { name, kind, address: record.address }
  return { name, kind, cid: record.cid.toString(), providers: record.providers }
}
