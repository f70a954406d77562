import { Hono } from 'hono'
import { ProtocolError } from '../../protocol/errors.ts'
import { domainRecordName } from '../../protocol/ipfs/domain-record.ts'
import type { DomainCache } from '../names/domain-cache.ts'
import { resolveHost } from '../names/resolve-host.ts'

/** `/_/domains/<domain>`: what this gateway finds a custom domain to stand for, looked up anew. */
export function createDomainPages({ domains }: { domains: Pick<DomainCache, 'refresh'> }): Hono {
  return new Hono().get('/_/domains/:domain', async (c) => {
    // As a `Host` header that is nobody's yet.
    const meaning = resolveHost(c.req.param('domain'), '')
    if (meaning.kind !== 'foreign') {
      throw new ProtocolError('name_malformed', 'This is no domain that could be pointed to a gateway.', {
        hint: 'Name it as browsers send it, such as www.example.org; an IDN as punycode.',
      })
    }
    const { host: domain } = meaning
    const answer = await domains.refresh(domain, c.req.raw.signal)
    if (answer.kind === 'refused') throw answer.error
    if (answer.kind === 'unknown') {
      throw new ProtocolError(
        'domain_unproven',
        `${domainRecordName(domain)} has no TXT record of this network.`,
        {
          hint: `"khachapuri domain add ${domain} <cid>" shows the record to set.`,
          details: { domain },
        },
      )
    }
    const { record } = answer
    const facts =
      record.kind === 'name'
        ? { name: record.name }
        : { cid: record.cid.toString(), providers: record.providers }
    return c.json({ domain, kind: record.kind, ...facts }, 200, { 'cache-control': 'no-cache' })
  })
}
