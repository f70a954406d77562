import type { NamedDeployment } from '../../protocol/ipfs/named-deployment.ts'
import { formatTime } from '../market/escrow.ts'
import type { MarketPlace } from '../market/market.ts'
import { providerUrl } from '../market/market.ts'
import type { Facts } from '../terminal.ts'

/** A deployment's name as it is printed. */
export function showName(
  { name, cid, providers, owner, resolver, blockNumber }: NamedDeployment,
  {
    market,
    domain,
    expiry,
  }: { readonly market: MarketPlace; readonly domain: string; readonly expiry: number },
): readonly [text: string, facts: Facts] {
  const { href: url } = providerUrl(market.gateway, domain, name)
  const text = [
    name,
    `  url        ${url}`,
    `  cid        ${cid}`,
    `  providers  ${providers.length > 0 ? providers.join(', ') : 'any that serves it'}`,
    `  owner      ${owner}`,
    `  resolver   ${resolver}`,
    `  expires    ${formatTime(expiry)}`,
  ].join('\n')
  const facts = { name, url, cid: cid.toString(), providers, owner, resolver, expiry }
  return [text, { ...facts, blockNumber: Number(blockNumber) }]
}
