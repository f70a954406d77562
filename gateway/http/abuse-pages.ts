import { Hono } from 'hono'
import { html } from 'hono/html'
import type { Clock } from '../../protocol/base/clock.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import type { AbuseSettings } from '../limits/front-rules.ts'

export interface AbusePagesDeps {
  readonly clock: Clock
  readonly info: GatewayInfo
  /** As the settings say now. */
  readonly abuse: () => AbuseSettings
}

/** How long `security.txt` may be believed (RFC 9116 wants less than a year). */
const securityTextDays = 90

/** Whom to write to about what is found behind this gateway: for people at `/_/abuse`, for scanners as RFC 9116. */
export function createAbusePages({ clock, info, abuse }: AbusePagesDeps): Hono {
  const app = new Hono()
  app.get('/_/abuse', (c) => {
    const { contact, policy } = abuse()
    const facts = {
      contact: contact ?? null,
      policy: policy ?? null,
      needed: ['the URL', 'the header x-request-id or khachapuri-call of an answer', 'when it was'],
    }
    const wantsPage = c.req.header('accept')?.includes('text/html') ?? false
    if (!wantsPage) return c.json(facts)
    return c.html(formatAbusePage(info.domain, abuse()), 200, {
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
    })
  })
  app.get('/.well-known/security.txt', (c) => {
    const { contact, policy } = abuse()
    if (contact === undefined) return c.notFound()
    const expires = new Date(clock.nowMs() + securityTextDays * 24 * 60 * 60 * 1000)
    const lines = [
      `Contact: ${contact}`,
      `Expires: ${expires.toISOString()}`,
      'Preferred-Languages: en',
      `Canonical: ${new URL('/.well-known/security.txt', info.keeper).href}`,
      ...(policy === undefined ? [] : [`Policy: ${policy}`]),
    ]
    return c.text(`${lines.join('\n')}\n`)
  })
  return app
}

function formatAbusePage(domain: string, { contact, policy }: AbuseSettings) {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Abuse of ${domain}</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:3rem auto;padding:0 1rem}</style>
<h1>Something here that should not be?</h1>
<p>This gateway passes requests on. The programs behind it are published by anybody, and run by the providers whose names
stand before <code>.${domain}</code>. Its operator can block a deployment, a provider or an address here.</p>
${
  contact === undefined
    ? html`<p>The operator has named nobody to write to. Ask whoever holds the domain.</p>`
    : html`<p>Write to <a href="${contact}">${contact.replace(/^mailto:/, '')}</a>: the URL, the header
<code>x-request-id</code> or <code>khachapuri-call</code> of an answer, and when it was.</p>`
}
${policy === undefined ? '' : html`<p><a href="${policy}">What is blocked, and how</a></p>`}
</html>
`
}
