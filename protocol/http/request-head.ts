import { ProtocolError } from '../errors.ts'
import { isHeaderValue, isTarget, isToken } from './header-syntax.ts'
import type { UpstreamRequest } from './upstream.ts'

export interface RequestHead {
  /** Everything up to and with the empty line; one byte per character. */
  readonly text: string
  readonly isChunked: boolean
  /** What the head promises; undefined when it is chunked or there is no body. */
  readonly lengthBytes: number | undefined
}

const framingHeaders = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Methods for which a server expects to be told that there is no body (RFC 9110 section 8.6). */
const methodsWithBody = new Set(['POST', 'PUT', 'PATCH'])

/**
 * Writes a request head. The framing is decided here alone, from the body and its length, never copied.
 *
 * @throws `bad_request` for anything that could begin another header or another request.
 */
export function formatRequestHead({
  method,
  target,
  rawHeaders,
  body,
  switchesTo,
  onBodyWanted,
}: UpstreamRequest): RequestHead {
  if (!isToken(method) || !isTarget(target)) refuse('The request line is malformed.')
  let text = `${method} ${target} HTTP/1.1\r\n`
  let announcedBytes: number | undefined
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const value = rawHeaders[index + 1] ?? ''
    if (!isToken(name) || !isHeaderValue(value)) refuse('A header is malformed.')
    const lowerName = name.toLowerCase()
    if (!framingHeaders.has(lowerName)) text += `${name}: ${value}\r\n`
    else if (lowerName === 'content-length') announcedBytes = parseLength(value, announcedBytes)
  }
  if (switchesTo !== undefined) {
    if (announcedBytes !== undefined) refuse('A request that asks for another protocol has no body.')
    text += `connection: Upgrade\r\nupgrade: ${switchesTo}\r\n\r\n`
    return { text, isChunked: false, lengthBytes: undefined }
  }
  if (onBodyWanted && body !== undefined && !Buffer.isBuffer(body)) text += 'expect: 100-continue\r\n'
  const lengthBytes = decideLength(body, announcedBytes)
  if (lengthBytes !== undefined && (body !== undefined || methodsWithBody.has(method))) {
    return { text: `${text}content-length: ${lengthBytes}\r\n\r\n`, isChunked: false, lengthBytes }
  }
  if (body !== undefined) {
    return { text: `${text}transfer-encoding: chunked\r\n\r\n`, isChunked: true, lengthBytes: undefined }
  }
  return { text: `${text}\r\n`, isChunked: false, lengthBytes: undefined }
}

function parseLength(value: string, before: number | undefined): number {
  if (before !== undefined || !/^\d{1,15}$/.test(value)) refuse('The content-length is malformed.')
  return Number(value)
}

function decideLength(body: UpstreamRequest['body'], announcedBytes: number | undefined): number | undefined {
  const bytes = body === undefined ? 0 : Buffer.isBuffer(body) ? body.length : announcedBytes
  if (announcedBytes !== undefined && announcedBytes !== bytes) {
    refuse('The content-length is not the length of the body.')
  }
  return bytes
}

function refuse(message: string): never {
  throw new ProtocolError('bad_request', message, { hint: 'Send well-formed HTTP.' })
}
