import { ProtocolError } from '../errors.ts'
import type { RawHeaders } from './upstream.ts'

/** How the end of a body is found (RFC 9112 section 6.3). */
export type BodyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until_close' }

export interface ResponseHead {
  readonly status: number
  /** Without hop-by-hop and framing headers; `content-length` stays where it counts. */
  readonly rawHeaders: RawHeaders
  readonly framing: BodyFraming
  /** Whether the connection may carry another request after this answer. */
  readonly reusable: boolean
  /** What a 101 switches to, in lower case. */
  readonly upgrade: string | undefined
}

const statusLine = /HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?/
/** A token, a colon, and a value as `isHeaderValue` wants it. */
const headerLine = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*/
/** All lines in one go: line by line this is half of what reading a head costs. */
const syntax = new RegExp(`^${statusLine.source}(?:\\r\\n${headerLine.source})*$`)
const beginsWithStatus = new RegExp(`^${statusLine.source}(?:\\r\\n|$)`)
const digits = /^\d{1,15}$/
const none: BodyFraming = { kind: 'none' }
const chunked: BodyFraming = { kind: 'chunked' }
const untilClose: BodyFraming = { kind: 'until_close' }

/**
 * Reads a response head, strictly: what two readers could understand differently is refused.
 *
 * @param text - Status line and header lines, parted by CRLF, without the empty line; one character per byte.
 * @param requestMethod - A `HEAD` has no body whatever its head says.
 * @throws `provider_answer_invalid`
 */
export function parseResponseHead(text: string, requestMethod: string): ResponseHead {
  const [, minor, digitsOfStatus] = syntax.exec(text) ?? refuseSyntax(text)
  const status = Number(digitsOfStatus)
  const fields = readFields(text)
  if (fields.isChunked && minor === '0') refuse('is HTTP/1.0 and chunked')
  if (fields.isChunked && fields.lengthBytes !== undefined) refuse('has a length and is chunked')

  const framing = decideFraming({ status, requestMethod, ...fields })
  // A body where none may be: whatever follows on this connection cannot be told from it.
  const announcesStrayBody = status === 204 && (fields.isChunked || (fields.lengthBytes ?? 0) > 0)
  return {
    status,
    upgrade: fields.upgrade,
    rawHeaders:
      status === 204 || status === 101
        ? without(fields.rawHeaders, new Set(['content-length']))
        : fields.rawHeaders,
    framing,
    reusable: minor === '1' && !fields.closes && framing.kind !== 'until_close' && !announcesStrayBody,
  }
}

interface Fields {
  readonly rawHeaders: string[]
  readonly lengthBytes: number | undefined
  readonly isChunked: boolean
  readonly closes: boolean
  readonly upgrade: string | undefined
}

function refuseSyntax(text: string): never {
  refuse(beginsWithStatus.test(text) ? 'has a malformed header line' : 'has a malformed status line')
}

/** @param text - What `syntax` has let through. */
function readFields(text: string): Fields {
  const rawHeaders: string[] = []
  let lengthBytes: number | undefined
  let isChunked = false
  let upgrade: string | undefined
  let connection = ''
  for (let lineEnd = text.indexOf('\r\n'); lineEnd >= 0; ) {
    const start = lineEnd + 2
    const colon = text.indexOf(':', start)
    lineEnd = text.indexOf('\r\n', colon)
    const name = text.slice(start, colon)
    const value = text.slice(colon + 1, lineEnd < 0 ? text.length : lineEnd).trim()
    switch (name.toLowerCase()) {
      case 'content-length':
        if (lengthBytes !== undefined || !digits.test(value)) refuse('has no single content-length')
        lengthBytes = Number(value)
        break
      case 'transfer-encoding':
        if (isChunked || value.toLowerCase() !== 'chunked') refuse('has an unknown transfer-encoding')
        isChunked = true
        continue
      case 'connection':
        connection += `,${value.toLowerCase()}`
        continue
      case 'keep-alive':
      case 'proxy-connection':
      case 'proxy-authenticate':
      case 'te':
      case 'trailer':
        continue
      case 'upgrade':
        upgrade = value.toLowerCase()
        continue
    }
    rawHeaders.push(name, value)
  }
  if (connection === '' || connection === ',keep-alive')
    return { rawHeaders, lengthBytes, isChunked, upgrade, closes: false }
  return { lengthBytes, isChunked, upgrade, ...applyConnection(rawHeaders, connection) }
}

/** `Connection: close` ends the connection, and any other name in it is a header for this hop only. */
function applyConnection(rawHeaders: string[], connection: string) {
  const options = new Set(connection.split(',').map((option) => option.trim()))
  const closes = options.has('close')
  for (const usual of ['', 'close', 'keep-alive', 'content-length']) options.delete(usual)
  return { closes, rawHeaders: options.size === 0 ? rawHeaders : without(rawHeaders, options) }
}

function without(rawHeaders: readonly string[], names: ReadonlySet<string>): string[] {
  return rawHeaders.filter((_, index) => !names.has(rawHeaders[index & ~1]!.toLowerCase()))
}

function decideFraming(facts: Fields & { status: number; requestMethod: string }): BodyFraming {
  const { status, lengthBytes } = facts
  if (facts.requestMethod === 'HEAD' || status < 200 || status === 204 || status === 304) return none
  if (facts.isChunked) return chunked
  if (lengthBytes === undefined) return untilClose
  return lengthBytes === 0 ? none : { kind: 'length', bytes: lengthBytes }
}

/** @throws `provider_answer_invalid`, always. */
export function refuse(what: string, details: Readonly<Record<string, unknown>> = {}): never {
  throw new ProtocolError('provider_answer_invalid', `The answer ${what}.`, {
    hint: 'Tell the provider: its server does not speak HTTP/1.1 properly.',
    details,
  })
}
