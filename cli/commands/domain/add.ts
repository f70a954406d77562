import { isProtocolError, ProtocolError } from '../../../protocol/errors.ts'
import { parseContentCid } from '../../../protocol/ipfs/cid.ts'
import {
  type DomainRecord,
  domainRecordName,
  formatDomainRecord,
  looksLikeCid,
} from '../../../protocol/ipfs/domain-record.ts'
import { parseProviderList } from '../../../protocol/ipfs/named-deployment.ts'
import { parseName } from '../../../protocol/name.ts'
import { type CommandContext, defineCommand, usageError } from '../../command.ts'
import { changeDevZone } from '../../domains/dev-zone.ts'
import { type FoundDomain, findDomain, parseDomain } from '../../domains/find-domain.ts'
import { findMarket, type MarketPlace } from '../../market/market.ts'
import { marketOptions } from '../../market/options.ts'
import { serverOptions } from '../../names/choose-deployment.ts'

export const domainAdd = defineCommand({
  usage: 'domain add <domain> <cid-or-name>',
  details:
    'Points a domain of your own to a deployment, by its CID or, so that it can be changed on chain, by its name. The proof is a\n' +
    'TXT record at _khachapuri.<domain>, which nobody else can set: this command shows it, and says whether the gateway\n' +
    'finds it. The domain itself is pointed to the gateway (CNAME). In a local market, which has no name servers, the\n' +
    'record is set by this command. Nothing is registered at the gateway: any gateway that the domain points to serves it.',
  options: { ...serverOptions, ...marketOptions },
  examples: [
    'domain add oracle.test bafkrei…',
    'domain add www.example.org thumbs',
    'domain add api.example.org bafkrei… --provider alice --provider bob',
  ],
  async run({ positionals: [text = '', target = ''], values }, context) {
    const domain = parseDomain(text)
    const record = parseTarget(target, values.provider)
    const txt = formatDomainRecord(record)
    const market = await findMarket(values, context)
    if (market.zone !== undefined) await changeDevZone(market.zone, (zone) => ({ ...zone, [domain]: txt }))
    const txtName = domainRecordName(domain)
    const found = await findOrExplain({ domain, txtName, txt }, market, context)
    const port =
      market.gateway.port === '' ? (market.gateway.protocol === 'https:' ? 443 : 80) : market.gateway.port
    const url = `${market.gateway.protocol}//${domain}${market.gateway.port === '' ? '' : `:${port}`}/`
    const curl = `curl --resolve ${domain}:${port}:${market.gateway.hostname === 'localhost' ? '127.0.0.1' : '<address>'} ${url}`
    context.print(
      [
        `${domain} is served by ${market.gateway.host}.`,
        `  url     ${url}`,
        `  record  ${txtName} TXT "${txt}"`,
        `  try     ${curl}`,
      ].join('\n'),
      { ...found, url, record: { name: txtName, type: 'TXT', value: txt } },
    )
  },
})

function parseTarget(target: string, providers: readonly string[] | undefined): DomainRecord {
  if (looksLikeCid(target)) {
    const listed = parseProviderList((providers ?? []).join(' '))
    return { kind: 'deployment', cid: parseContentCid(target), providers: listed }
  }
  if (providers === undefined) return { kind: 'name', name: parseName(target) }
  throw usageError('The providers of a name stand on chain.', 'Leave --provider out, or give a CID.')
}

/** @throws ProtocolError `domain_unproven` with the record to set */
async function findOrExplain(
  { domain, txtName, txt }: { domain: string; txtName: string; txt: string },
  market: MarketPlace,
  context: CommandContext,
): Promise<FoundDomain> {
  const hint = `Set the record ${txtName} TXT "${txt}", point ${domain} to ${market.gateway.hostname} (CNAME), and run this again.`
  try {
    const found = await findDomain(domain, market, context)
    if (txt === formatFound(found)) return found
    throw new ProtocolError('domain_unproven', `${txtName} says something else: "${formatFound(found)}".`, {
      hint,
    })
  } catch (error) {
    if (!isProtocolError(error) || error.code !== 'domain_unproven') throw error
    throw new ProtocolError('domain_unproven', error.message, {
      hint,
      details: { name: txtName, value: txt },
    })
  }
}

function formatFound({ name, cid, providers = [] }: FoundDomain): string {
  if (name !== undefined) return formatDomainRecord({ kind: 'name', name: parseName(name) })
  return formatDomainRecord({
    kind: 'deployment',
    cid: parseContentCid(cid),
    providers: parseProviderList(providers.join(' ')),
  })
}
