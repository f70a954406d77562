import { isHeaderValue, isToken } from './header-syntax.ts'
import { hopByHopHeaders, khachapuriPrefix } from './headers.ts'
import type { OutgoingResponse } from './listener.ts'
import type { RawHeaders } from './upstream.ts'

/** Fields that decide over a message before its trailers come, and may not be said afterwards (RFC 9110 section 6.5.1). */
const notInTrailers: ReadonlySet<string> = new Set([
  ...hopByHopHeaders,
  'age',
  'authorization',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'expires',
  'forwarded',
  'host',
  'location',
  'max-forwards',
  'origin',
  'pragma',
  'range',
  'retry-after',
  'set-cookie',
  'strict-transport-security',
  'vary',
  'via',
  'warning',
  'www-authenticate',
  'x-real-ip',
  'x-request-id',
])

const prefixesNotInTrailers = ['x-forwarded-', 'if-', 'sec-', 'access-control-']

/** Whose trailers they are: a provider may say `Khachapuri-*`, such as a receipt; programs and callers may not. */
export type TrailersOf = 'provider' | 'others'

/** What may go on of the trailers of a message; the rest is dropped, as a recipient of HTTP/1.0 would have to do with all. */
export function cleanTrailers(rawTrailers: RawHeaders, sender: TrailersOf): string[] {
  const kept: string[] = []
  for (let index = 0; index < rawTrailers.length; index += 2) {
    const name = rawTrailers[index]!
    const value = rawTrailers[index + 1] ?? ''
    const lowerName = name.toLowerCase()
    if (!isToken(name) || !isHeaderValue(value) || notInTrailers.has(lowerName)) continue
    if (sender !== 'provider' && lowerName.startsWith(khachapuriPrefix)) continue
    if (prefixesNotInTrailers.some((prefix) => lowerName.startsWith(prefix))) continue
    kept.push(name, value)
  }
  return kept
}

/** Gives an answer its trailers, where its framing has a place for them. To be called before its `end`. */
export function addTrailers(
  response: OutgoingResponse,
  rawTrailers: RawHeaders | undefined,
  sender: TrailersOf,
): void {
  const kept = rawTrailers && cleanTrailers(rawTrailers, sender)
  if (!kept || kept.length === 0 || response.destroyed || response.writableEnded) return
  // Node would announce a length for a body that it has whole, and then there is no place.
  if (!response.headersSent) response.flushHeaders()
  const pairs: [string, string][] = []
  for (let index = 0; index < kept.length; index += 2) pairs.push([kept[index]!, kept[index + 1]!])
  response.addTrailers(pairs)
}

/** The trailer section of a chunked body: its last line, the trailers, and the empty line. */
export function formatLastChunk(rawTrailers: RawHeaders | undefined): string {
  let text = '0\r\n'
  const kept = rawTrailers ? cleanTrailers(rawTrailers, 'others') : []
  for (let index = 0; index < kept.length; index += 2) text += `${kept[index]}: ${kept[index + 1]}\r\n`
  return `${text}\r\n`
}
