import { callHeaders } from '../../protocol/call.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'

export interface AnswerFacts {
  /** The widest `Domain` that a cookie may have; undefined where each stays on the very host that was called. */
  readonly cookieDomain: string | undefined
  /** Who answered, where the caller could not know. */
  readonly servedBy?: string | undefined
  readonly routeReason?: string | undefined
  /** See `gatewayHeaders.attempt`. */
  readonly attempts?: readonly string[] | undefined
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
  /** See `PageAccess`; empty for most. */
  readonly pageHeaders: RawHeaders
}

/**
 * A provider's headers as a caller may see them. All of a provider's deployments share one origin in a browser, and the
 * gateway's domain is everybody's: cookies stay on the host that was called, and not below it either, where deployments
 * have origins of their own; no service worker reaches beyond its path; and nobody clears what is not its own.
 */
export function cleanResponseHeaders(rawHeaders: RawHeaders, facts: AnswerFacts): string[] {
  const cleaned: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const value = rawHeaders[index + 1]!
    switch (name.length) {
      case 10:
        if (name.toLowerCase() === 'set-cookie') {
          cleaned.push(name, narrowCookie(value, facts.cookieDomain))
          continue
        }
        break
      case 12:
        if (name.toLowerCase() === 'x-request-id') continue
        break
      case 15:
        if (name.toLowerCase() === 'clear-site-data') {
          const kept = narrowClearing(value)
          if (kept !== '') cleaned.push(name, kept)
          continue
        }
        break
      case 16:
        if (ownHeaders.has(name.toLowerCase())) continue
        if (name.toLowerCase() === callHeaders.payer) facts.onPayer(value)
        break
      case 18:
      case 19:
        if (ownHeaders.has(name.toLowerCase())) continue
        break
      case 25:
        if (facts.hsts !== undefined && name.toLowerCase() === 'strict-transport-security') continue
        break
      case 22:
        if (name.toLowerCase() === 'service-worker-allowed') continue
        break
      case 27:
      case 29:
        if (facts.pageHeaders.length > 0 && name.toLowerCase().startsWith('access-control-')) continue
        break
    }
    cleaned.push(name, value)
  }
  cleaned.push('x-request-id', facts.requestId, 'via', `1.1 ${facts.via}`)
  if (facts.callerHeaders.length > 0) cleaned.push(...facts.callerHeaders)
  if (facts.pageHeaders.length > 0) cleaned.push(...facts.pageHeaders)
  if (facts.hsts !== undefined) cleaned.push('strict-transport-security', facts.hsts)
  if (facts.staleMs !== undefined) {
    cleaned.push(gatewayHeaders.nameAge, String(Math.floor(facts.staleMs / 1000)))
  }
  if (facts.servedBy !== undefined) cleaned.push(gatewayHeaders.provider, facts.servedBy)
  if (facts.routeReason !== undefined) cleaned.push(gatewayHeaders.route, facts.routeReason)
  for (const attempt of facts.attempts ?? []) cleaned.push(gatewayHeaders.attempt, attempt)
  return cleaned
}

const ownHeaders: ReadonlySet<string> = new Set(Object.values(gatewayHeaders))

/**
 * Browsers clear the cookies of the whole registered domain, where all other providers are: what is left is what concerns
 * the origin alone (Clear Site Data, section 3.1).
 */
function narrowClearing(types: string): string {
  return types
    .split(',')
    .map((type) => type.trim())
    .filter((type) => ownClearing.has(type))
    .join(', ')
}

const ownClearing: ReadonlySet<string> = new Set(['"cache"', '"storage"', '"executionContexts"'])

/** Takes a `Domain` that is wider than it may be off a cookie, so that it goes back to this host only. */
function narrowCookie(cookie: string, cookieDomain: string | undefined): string {
  const [pair, ...attributes] = cookie.split(';')
  const kept = attributes.filter((attribute) => {
    const [name = '', value = ''] = attribute.split('=')
    if (name.trim().toLowerCase() !== 'domain') return true
    return value.trim().toLowerCase().replace(/^\./, '') === cookieDomain
  })
  return [pair, ...kept].join(';')
}
