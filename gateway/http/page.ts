import { html } from 'hono/html'
import type { Address } from 'viem'
import type { Announcement } from '../../protocol/announcement.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import { formatUsdc, usdc } from '../../protocol/usdc.ts'

/** What `/_/providers` says of one provider; what only itself can say is there where it announced itself. */
export interface ListedProvider extends Partial<Announced> {
  readonly address: Address
  /** Undefined for a provider whose name nobody has called yet. */
  readonly name: string | undefined
  readonly url: string | undefined
  /** It said lately that it is there, or its tunnel stands. */
  readonly isLive: boolean
  readonly isTunnelled: boolean
}

interface Announced
  extends Pick<Announcement, 'region' | 'version' | 'runtimes' | 'tier' | 'egress' | 'capacity'> {
  /** Base units of USDC for a call. */
  readonly price: string
  /** Through this gateway, and what its Resolver said when it announced itself. */
  readonly endpoints: readonly string[]
  /** By its own clock. */
  readonly saidAt: string
}

/** The gateway's page for people: what this is, whom it knows, how to call. */
export function formatPage(info: GatewayInfo, providers: readonly ListedProvider[]) {
  const origin = info.keeper.startsWith('https:') ? 'https' : 'http'
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Khachapuri gateway ${info.domain}</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem}code,pre{background:#f3f0ea;padding:.1em .3em}</style>
<h1>Khachapuri gateway</h1>
<p>Programs on IPFS, run by whoever wants to, paid per call. This gateway leads to the providers.</p>
<pre>curl ${origin}://&lt;provider&gt;.${info.domain}/&lt;cid&gt;</pre>
<h2>Providers</h2>
${
  providers.length === 0
    ? html`<p>None yet. A provider is known here once it has announced itself, or after the first call to it.</p>`
    : html`<ul>${providers.map(formatProvider)}</ul>`
}
<p><a href="/_/dashboard">Dashboard</a>. For programs: <a href="/_/info">/_/info</a>, <a href="/_/providers">/_/providers</a>.
Chain ${String(info.chainId)}, escrow <code>${info.escrow}</code>. <a href="/_/abuse">Report abuse</a>.</p>
</html>
`
}

function formatProvider({ name, url, address, isTunnelled, isLive, ...said }: ListedProvider) {
  const facts = [
    isLive ? 'live' : 'called lately',
    ...(isTunnelled ? ['through a tunnel'] : []),
    ...(said.region ? [said.region] : []),
    ...(said.price === undefined ? [] : [`${formatUsdc(usdc(BigInt(said.price)))} USDC a call`]),
    ...(said.version === undefined ? [] : [`version ${said.version}`]),
  ]
  return html`<li>${name && url ? html`<a href="${url}">${name}</a> ` : ''}<code>${address}</code> ${facts.join(', ')}</li>
`
}
