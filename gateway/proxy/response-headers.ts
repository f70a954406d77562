import { callHeaders } from '../../protocol/call.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'

export interface AnswerFacts {
  /** The host that the caller called, lower-case, without a port. */
  readonly hostname: string
  readonly requestId: string
  /** See `NameAnswer.staleMs`. */
  readonly staleMs: number | undefined
  readonly via: string
  /** Headers of the gateway about who called. */
  readonly callerHeaders: readonly string[]
  /** Hears whom the provider charges, where it says so. */
  readonly onPayer: (payer: string) => void
  /** `Strict-Transport-Security`, where the gateway ends TLS itself: then a provider has no say in it. */
  readonly hsts: string | undefined
}

/**
 * A provider's headers as a caller may see them. All of a provider's deployments share one origin in a browser, and the
 * gateway's domain is everybody's: cookies stay on the provider's host, and no service worker reaches beyond its path.
 */
export function cleanResponseHeaders(rawHeaders: RawHeaders, facts: AnswerFacts): string[] {
  const cleaned: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const value = rawHeaders[index + 1]!
    switch (name.length) {
      case 10:
        if (name.toLowerCase() === 'set-cookie') {
          cleaned.push(name, narrowCookie(value, facts.hostname))
          continue
        }
        break
      case 12:
        if (name.toLowerCase() === 'x-request-id') continue
        break
      case 16:
        if (name.toLowerCase() === callHeaders.payer) facts.onPayer(value)
        break
      case 19:
        if (name.toLowerCase() === gatewayHeaders.nameAge) continue
        break
      case 25:
        if (facts.hsts !== undefined && name.toLowerCase() === 'strict-transport-security') continue
        break
      case 22:
        if (name.toLowerCase() === 'service-worker-allowed') continue
        break
    }
    cleaned.push(name, value)
  }
  cleaned.push('x-request-id', facts.requestId, 'via', `1.1 ${facts.via}`)
  if (facts.callerHeaders.length > 0) cleaned.push(...facts.callerHeaders)
  if (facts.hsts !== undefined) cleaned.push('strict-transport-security', facts.hsts)
  if (facts.staleMs !== undefined) {
    cleaned.push(gatewayHeaders.nameAge, String(Math.floor(facts.staleMs / 1000)))
  }
  return cleaned
}

/** Takes a `Domain` that is wider than the host off a cookie, so that it goes back to this provider only. */
function narrowCookie(cookie: string, hostname: string): string {
  const [pair, ...attributes] = cookie.split(';')
  const kept = attributes.filter((attribute) => {
    const [name = '', value = ''] = attribute.split('=')
    if (name.trim().toLowerCase() !== 'domain') return true
    return value.trim().toLowerCase().replace(/^\./, '') === hostname
  })
  return [pair, ...kept].join(';')
}
