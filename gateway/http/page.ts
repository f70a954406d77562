import { html } from 'hono/html'
import type { Address } from 'viem'
import type { GatewayInfo } from '../../protocol/gateway.ts'

/** What `/_/providers` says of one provider. */
export interface ListedProvider {
  readonly address: Address
  /** Undefined for a provider whose name nobody has called yet. */
  readonly name: string | undefined
  readonly url: string | undefined
  readonly isTunnelled: boolean
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
<h2>Providers called lately</h2>
${
  providers.length === 0
    ? html`<p>None yet. A provider is known here after the first call to it.</p>`
    : html`<ul>${providers.map(formatProvider)}</ul>`
}
<p>For programs: <a href="/_/info">/_/info</a>, <a href="/_/providers">/_/providers</a>.
Chain ${String(info.chainId)}, escrow <code>${info.escrow}</code>. <a href="/_/abuse">Report abuse</a>.</p>
</html>
`
}

function formatProvider({ name, url, address, isTunnelled }: ListedProvider) {
  return html`<li>${name && url ? html`<a href="${url}">${name}</a> ` : ''}<code>${address}</code>${isTunnelled ? ' through a tunnel' : ''}</li>
`
}
