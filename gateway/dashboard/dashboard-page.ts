import { html } from 'hono/html'
import { formatUsdc, usdc } from '../../protocol/usdc.ts'
import type { DashboardProvider, DashboardView } from './dashboard-view.ts'

/**
 * The dashboard: whole without its script, which only renews it and sends the form. Whatever providers say of themselves is
 * escaped by the template; no part of it is markup.
 */
export function formatDashboard({ gateway, since, at, providers }: DashboardView, anyUrl: string) {
  const live = providers.filter(({ state }) => state === 'live').length
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dashboard of ${gateway.domain}</title>
<link rel="stylesheet" href="/_/dashboard/style.css">
<script src="/_/dashboard/script.js" defer></script>
</head>
<body>
<header>
<h1>${gateway.domain}</h1>
<p>Khachapuri ${gateway.version}, chain ${String(gateway.chainId)}. <a href="/">About</a> <a href="/_/abuse">Report abuse</a></p>
</header>
<main>
<section id="live" aria-live="off">
<h2>Providers</h2>
<p><strong>${String(live)}</strong> of ${String(providers.length)} live at <time datetime="${at}">${timeOf(at)}</time>; calls
counted since <time datetime="${since}">${timeOf(since)}</time>.</p>
<div class="wide" tabindex="0" role="region" aria-label="Providers">
<table>
<thead><tr>
<th scope="col">Provider</th><th scope="col">State</th><th scope="col" class="n">Calls</th><th scope="col" class="n">Success</th>
<th scope="col" class="n">Latency</th><th scope="col" class="n">Price, USDC</th><th scope="col">Region</th><th scope="col">Version</th>
<th scope="col">Record</th><th scope="col">Receipts</th>
</tr></thead>
<tbody>
${providers.map(formatRow)}
</tbody>
</table>
</div>
${providers.length === 0 ? html`<p>None yet: a provider is known here once it has announced itself, or after the first call to it.</p>` : ''}
</section>
<section>
<h2>Look up a receipt</h2>
<form id="receipt">
<label>Provider <select name="provider" required>
${providers.flatMap(({ name, receipts }) => (name && receipts ? [html`<option value="${receipts}">${name}</option>`] : []))}
</select></label>
<label class="long">Call <input name="call" required pattern="0x[0-9a-f]{64}" placeholder="Khachapuri-Call of an answer: 0x…" autocomplete="off" spellcheck="false"></label>
<button>Show</button>
</form>
</section>
<section>
<h2>Call a swarm</h2>
<p>Asks several providers at once, and takes the answer that most of them gave.</p>
<form id="swarm" data-any="${anyUrl}">
<label class="long">Deployment <input name="cid" required pattern="[a-zA-Z0-9]{20,100}" placeholder="CID" autocomplete="off" spellcheck="false"></label>
<label>Path <input name="path" value="/" required pattern="/.*" spellcheck="false"></label>
<label>Method <select name="method"><option>GET</option><option>POST</option><option>PUT</option><option>DELETE</option></select></label>
<label>Members <input name="n" type="number" min="1" max="16" value="3" required></label>
<label>Agreeing <input name="k" type="number" min="1" max="16" value="2" required></label>
<label>Seconds <input name="timeout" type="number" min="1" max="60" value="3" required></label>
<label class="long">Pass <input name="pass" type="password" placeholder="kp1.…, unless the owner pays" autocomplete="off"></label>
<label class="long">Body <textarea name="body" rows="2" spellcheck="false"></textarea></label>
<button>Call</button>
</form>
<div id="result" role="status"></div>
</section>
<p>For programs: the same as JSON, <code>curl ${schemeOf(anyUrl)}//${gateway.domain}/_/dashboard</code>.</p>
</main>
</body>
</html>
`
}

function formatRow(provider: DashboardProvider) {
  const { name, url, address, state, isTunnelled, calls, failed, successRate, latencyMs } = provider
  const { price, region, version, record, reputation, receipts } = provider
  const known = reputation
    ? `${reputation.calls} calls of ${reputation.payers} payers, ${formatUsdc(usdc(BigInt(reputation.countedUsdc)))} USDC, blocks ${reputation.fromBlock} to ${reputation.toBlock}`
    : 'Nothing read of the chain yet'
  return html`<tr data-state="${state}">
<th scope="row">${name && url ? html`<a href="${url}">${name}</a>` : ''} <code title="${address}">${address.slice(0, 8)}…</code></th>
<td><span class="state ${state}">${state}</span>${isTunnelled ? ' tunnel' : ''}</td>
<td class="n">${String(calls)}</td>
<td class="n"${failed > 0 ? html` title="${String(failed)} failed"` : ''}>${successRate === null ? '–' : `${(successRate * 100).toFixed(1)} %`}</td>
<td class="n">${latencyMs === null ? '–' : `${latencyMs} ms`}</td>
<td class="n">${price === null ? '–' : formatUsdc(usdc(BigInt(price)))}</td>
<td>${region ?? '–'}</td>
<td>${version ?? '–'}</td>
<td title="${known}">${record}${reputation ? ` · ${reputation.weight}` : ''}</td>
<td>${receipts && name ? html`<a href="#receipt" data-receipts="${receipts}">receipts<span class="hidden"> of ${name}</span></a>` : '–'}</td>
</tr>
`
}

const timeOf = (iso: string): string => `${iso.slice(0, 19).replace('T', ' ')} UTC`
const schemeOf = (url: string): string => new URL(url).protocol
