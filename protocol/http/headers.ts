import type { RawHeaders } from './upstream.ts'

/** Headers that concern one connection only (RFC 9110 section 7.6.1) and the ones that grew around them. */
export const hopByHopHeaders: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** By which gateways of a cluster know each other's requests; from everybody else it means nothing. */
export const clusterHopHeader = 'khachapuri-cluster-hop'
/** Says on a hop between processes of one gateway what the request is for; from everybody else it means nothing. */
export const processHopHeader = 'khachapuri-hop'

/** Not passed on: of this hop, or what a gateway says itself, where a caller's own words would be taken for it. */
const notForwarded: ReadonlySet<string> = new Set([
  ...hopByHopHeaders,
  'expect',
  'forwarded',
  'host',
  clusterHopHeader,
  processHopHeader,
  'via',
  'x-real-ip',
  'x-request-id',
])

/** Names that begin so belong to this network; those that a gateway adds to an answer are here. */
export const khachapuriPrefix = 'khachapuri-'
export const gatewayHeaders = {
  /** Seconds since the name was last read from the chain; only where the chain cannot be reached. */
  nameAge: 'khachapuri-name-age',
  /** Which provider answered; only where the caller called a deployment, and not a provider. */
  provider: 'khachapuri-provider',
  /**
   * Why it was that one: `<name>; why=only_one|drawn|less_to_do; among=<n>; of=<n>; try=<n>; share=<percent>;
   * record=new|good|poor|cheat; price=<base units>`, the last where it is known.
   */
  route: 'khachapuri-route',
  /** See `formatAttempt`: once for each provider that the call was offered to, where that was more than one, or all failed. */
  attempt: 'khachapuri-attempt',
} as const

/** A header's values in order, whatever the case of its name. */
export function headerValues(rawHeaders: RawHeaders, lowerName: string): string[] {
  const values: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === lowerName.length && name.toLowerCase() === lowerName)
      values.push(rawHeaders[index + 1]!)
  }
  return values
}

/** What `content-length` says; undefined where there is none. Of headers whose syntax was checked. */
export function announcedLength(rawHeaders: RawHeaders): number | undefined {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    if (name.length === 14 && name.toLowerCase() === 'content-length') return Number(rawHeaders[index + 1])
  }
  return undefined
}

/** The names that a `Connection` header makes hop-by-hop, in lower case. */
export function connectionOptions(value: string | undefined): string[] {
  if (value === undefined || value === 'keep-alive' || value === 'close') return []
  return value
    .toLowerCase()
    .split(',')
    .map((option) => option.trim())
    .filter((option) => option !== '' && option !== 'close' && option !== 'keep-alive')
}

/** What a gateway knows of a request that it passes on. */
export interface ForwardFacts {
  readonly rawHeaders: RawHeaders
  /** The `Connection` header, joined. */
  readonly connection: string | undefined
  /** What the far side is to see as `Host`. */
  readonly host: string
  /** What the caller called. */
  readonly forwardedHost: string
  readonly forwardedProto: 'http' | 'https'
  readonly remoteAddress: string
  readonly requestId: string
  /** The name by which this gateway is known in `Via`. */
  readonly via: string
  /** What replaces `traceparent`; absent where what came goes on. */
  readonly trace?: { readonly traceparent: string; readonly isNew: boolean } | undefined
}

/** Servers that make variables of headers (CGI, WSGI and their like) read `x_forwarded_for` as `x-forwarded-for`. */
function posesAsOurs(lowerName: string): boolean {
  const name = lowerName.replaceAll('_', '-')
  return notForwarded.has(name) || name.startsWith('x-forwarded-') || name.startsWith(khachapuriPrefix)
}

/**
 * The headers that a gateway sends on: end-to-end ones in their order and case, without what the caller claims about
 * where it comes from, and with the truth about that. `Via` is continued, so that a loop can be seen.
 */
export function forwardHeaders(facts: ForwardFacts): string[] {
  const { rawHeaders, trace } = facts
  const dropped = connectionOptions(facts.connection)
  const forwarded = ['host', facts.host]
  let via = ''
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const lowerName = name.toLowerCase()
    if (notForwarded.has(lowerName)) {
      if (lowerName === 'via') via += `${rawHeaders[index + 1]}, `
      continue
    }
    if (lowerName.startsWith('x-forwarded-') || (lowerName.includes('_') && posesAsOurs(lowerName))) continue
    if (trace && (lowerName === 'traceparent' || (trace.isNew && lowerName === 'tracestate'))) continue
    if (dropped.length > 0 && dropped.includes(lowerName)) continue
    forwarded.push(name, rawHeaders[index + 1]!)
  }
  forwarded.push(
    'x-forwarded-for',
    facts.remoteAddress,
    'x-forwarded-proto',
    facts.forwardedProto,
    'x-forwarded-host',
    facts.forwardedHost,
    'x-request-id',
    facts.requestId,
    'via',
    `${via}1.1 ${facts.via}`,
  )
  if (trace) forwarded.push('traceparent', trace.traceparent)
  return forwarded
}
