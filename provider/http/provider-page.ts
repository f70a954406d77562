import { html } from 'hono/html'
import type { EgressOffer } from '../../protocol/egress.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import { formatUsdc } from '../../protocol/usdc.ts'

const networks: Readonly<Record<EgressOffer, string>> = {
  none: 'Programs reach nothing.',
  listed: 'Programs reach the public servers that their deployments list.',
  public: 'Programs reach the servers that their deployments list, or all public ones where they say so.',
}

/** The page that a person sees at a provider's root: who it is, what a call costs, how to make one. */
export function providerPage({ info, origin }: { info: ProviderInfo; origin: string }) {
  const walls =
    info.tier === 'sandbox'
      ? 'Every program runs in a process of its own inside a kernel sandbox.'
      : 'Development: programs run in processes of their own, without a kernel sandbox.'
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.name} · Khachapuri</title>
<style>
  :root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent) }
  body { font: 16px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1.2rem }
  h1 { margin: 0; font-size: 2rem; letter-spacing: -.02em }
  p.lead { margin-top: .3rem; opacity: .75 }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; padding: 1rem 0; border: solid var(--line); border-width: 1px 0 }
  dt { opacity: .65 } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
  pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .5rem; font-size: .9em }
  code { font-family: ui-monospace, monospace }
</style>
<h1>${info.name}</h1>
<p class="lead">Runs programs from IPFS for <strong>${formatUsdc(info.price)} USDC</strong> a call.</p>
<dl>
  <dt>Account</dt><dd><code>${info.address}</code></dd>
  <dt>Price</dt><dd>${formatUsdc(info.price)} USDC per answered call</dd>
  <dt>Notice</dt><dd>${info.noticeHours} hours after a grant is revoked</dd>
  <dt>Programs</dt><dd>${info.runtimes.join(', ')}</dd>
  <dt>Walls</dt><dd>${walls}</dd>
  <dt>Network</dt><dd>${networks[info.egress]}</dd>
  <dt>Chain</dt><dd>${info.chainId}, escrow <code>${info.escrow}</code></dd>
</dl>
<h2>Call a program</h2>
<pre><code>curl ${origin}/&lt;cid&gt;/</code></pre>
<p>Where the program's owner pays, nothing more is needed. To pay yourself, reserve a budget once and send a pass:</p>
<pre><code>khachapuri approve ${info.name} --price ${formatUsdc(info.price)} --budget 1
PASS=$(khachapuri pass create --provider ${info.name} --max-spend 1)
curl -H "Authorization: Bearer $PASS" ${origin}/&lt;cid&gt;/</code></pre>
<h2>Deploy a program</h2>
<pre><code>khachapuri init hello
khachapuri deploy hello --provider ${info.name}</code></pre>
<p>A provider can read the secrets of the programs that it runs: give it such as can be revoked.</p>
</html>`
}
