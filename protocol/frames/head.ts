import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

/** Names and values in turn. */
export type RawHeaders = readonly string[]

/** A stream of a tunnel: one that went before the provider was seen to take the request on it, or one that gets a lane. */
export interface LostAttempt {
  readonly tunnelId: string
  readonly streamId: number
}

export interface RequestHead {
  readonly method: string
  /** Path and query, in origin form. */
  readonly target: string
  readonly rawHeaders: RawHeaders
  /** Where this request was sent before. The provider takes it only if it took none of these. */
  readonly lostAttempts: readonly LostAttempt[]
  /** Set where the request asks for another protocol: after an answer 101 the data frames of both sides are raw bytes. */
  readonly switchesTo?: 'websocket' | undefined
  /** Whether the body waits for a frame of the type continue. */
  readonly expectsContinue?: boolean
}

export interface ResponseHead {
  readonly status: number
  readonly rawHeaders: RawHeaders
  /** Of the body, where it was announced. */
  readonly contentLength: number | undefined
}

/**
 * A head as Latin-1 JSON, `[method, target, rawHeaders, lostAttempts, wish]`, of which the last two are left out where there
 * is nothing to say; the wish is `websocket` or `100-continue`. JSON, because V8 reads a whole head in one native call; Latin-1, because that is what HTTP's
 * header bytes are to Node.
 *
 * @throws ProtocolError `headers_too_large`, `bad_request`
 */
export function formatRequestHead(head: RequestHead): string {
  const { method, target, rawHeaders, lostAttempts, switchesTo, expectsContinue } = head
  const wish = switchesTo ?? (expectsContinue ? '100-continue' : undefined)
  const fields: unknown[] = [method, target, rawHeaders]
  if (lostAttempts.length > 0 || wish !== undefined) {
    fields.push(lostAttempts.map(({ tunnelId, streamId }) => [tunnelId, streamId]))
  }
  if (wish !== undefined) fields.push(wish)
  const text = JSON.stringify(fields)
  if (text.length > limits.frameBytesMax) throw headersTooLarge(text.length)
  if (beyondLatin1.test(text)) throw requestInvalid('a character beyond Latin-1')
  return text
}

/** @throws ProtocolError `bad_request`, `headers_too_large` */
export function parseRequestHead(text: string): RequestHead {
  const [method, target, rawHeaders, attempts, wish, ...rest] = parseArray(text, requestInvalid)
  if (typeof method !== 'string' || method.length > 32 || !token.test(method)) {
    throw requestInvalid('no valid method')
  }
  if (typeof target !== 'string' || target.length > limits.targetBytesMax || !originForm.test(target)) {
    throw requestInvalid('no valid target')
  }
  if (rest.length > 0) throw requestInvalid('too many fields')
  if (wish !== undefined && wish !== 'websocket' && wish !== '100-continue')
    throw requestInvalid('an unknown wish')
  const contentLength = parseHeaders(rawHeaders, requestInvalid)
  if (wish === 'websocket' && (method !== 'GET' || contentLength)) throw requestInvalid('no handshake')
  return {
    method,
    target,
    rawHeaders: rawHeaders as RawHeaders,
    lostAttempts: attempts === undefined ? [] : parseLostAttempts(attempts),
    ...(wish === 'websocket' && { switchesTo: wish }),
    ...(wish === '100-continue' && { expectsContinue: true }),
  }
}

/** `[status, rawHeaders]`. @throws ProtocolError `provider_answer_invalid` where it does not fit a frame. */
export function formatResponseHead({ status, rawHeaders }: Omit<ResponseHead, 'contentLength'>): string {
  const text = JSON.stringify([status, rawHeaders])
  if (text.length > limits.frameBytesMax) throw answerInvalid(`a head of ${text.length} bytes`)
  if (beyondLatin1.test(text)) throw answerInvalid('a character beyond Latin-1 in a header')
  return text
}

/**
 * @param maySwitch - Whether the request asked for another protocol, so that 101 is an answer to it.
 * @throws ProtocolError `provider_answer_invalid`
 */
export function parseResponseHead(text: string, maySwitch = false): ResponseHead {
  const [status, rawHeaders, ...rest] = parseArray(text, answerInvalid)
  const isFinal = Number.isInteger(status) && (status as number) >= 200 && (status as number) <= 599
  if (!isFinal && !(maySwitch && status === 101)) throw answerInvalid('no valid status')
  if (rest.length > 0) throw answerInvalid('too many fields')
  const contentLength = parseHeaders(rawHeaders, answerInvalid)
  return { status: status as number, rawHeaders: rawHeaders as RawHeaders, contentLength }
}

/** The head of a lane: which stream goes on through it. */
export function formatLaneHead({ tunnelId, streamId }: LostAttempt): string {
  return JSON.stringify({ lane: [tunnelId, streamId] })
}

/** @returns undefined for the head of a request. @throws ProtocolError `bad_request` for what is neither */
export function parseLaneHead(text: string): LostAttempt | undefined {
  if (!text.startsWith('{')) return undefined
  const [, tunnelId, streamId] = /^\{"lane":\["([0-9a-f]{32})",(\d{1,10})\]\}$/.exec(text) ?? []
  if (tunnelId === undefined) throw requestInvalid('a lane that is none')
  return { tunnelId, streamId: Number(streamId) }
}

/** Names and values in turn; empty for none, and for what fits no frame. */
export function formatTrailers(rawTrailers: RawHeaders): string {
  if (rawTrailers.length === 0) return ''
  const text = JSON.stringify(rawTrailers)
  return text.length > limits.frameBytesMax || beyondLatin1.test(text) ? '' : text
}

/** @throws ProtocolError `bad_request` or `provider_answer_invalid`, by who sent them. */
export function parseTrailers(text: string, sender: 'caller' | 'provider'): RawHeaders | undefined {
  if (text === '') return undefined
  const refuse = sender === 'caller' ? requestInvalid : answerInvalid
  const trailers = parseArray(text, refuse)
  parseHeaders(trailers, refuse)
  return trailers as RawHeaders
}

/** What belongs to one connection and never goes through a tunnel. */
export function isHopByHop(headerName: string): boolean {
  return hopByHop.has(headerName.toLowerCase())
}

type Refuse = (what: string) => ProtocolError

const hopByHop = new Set([
  'connection',
  'expect',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const originForm = /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/
const notInValue = /[^\t\x20-\x7e\x80-\xff]/
const beyondLatin1 = /[^\x00-\xff]/
const tunnelIdShape = /^[0-9a-f]{32}$/

function parseArray(text: string, refuse: Refuse): readonly unknown[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw refuse('a head that is not JSON')
  }
  if (!Array.isArray(value)) throw refuse('a head that is not a list')
  return value
}

/** Checks names and values in turn. @returns the announced length of the body. */
function parseHeaders(value: unknown, refuse: Refuse): number | undefined {
  if (!Array.isArray(value) || value.length % 2 !== 0) throw refuse('headers that are not pairs')
  let bytes = 0
  let contentLength: number | undefined
  for (let index = 0; index < value.length; index += 2) {
    const name: unknown = value[index]
    const text: unknown = value[index + 1]
    if (typeof name !== 'string' || !token.test(name)) throw refuse('a header name that is none')
    if (typeof text !== 'string' || notInValue.test(text)) throw refuse('a header value that is none')
    bytes += name.length + text.length + 4
    const lowerName = name.toLowerCase()
    if (hopByHop.has(lowerName)) throw refuse(`the header ${lowerName}`)
    if (lowerName !== 'content-length') continue
    if (contentLength !== undefined || !/^\d{1,15}$/.test(text)) throw refuse('a broken content-length')
    contentLength = Number(text)
  }
  if (bytes > limits.headerBytesMax) throw refuse(`${bytes} bytes of headers`)
  return contentLength
}

function parseLostAttempts(value: unknown): readonly LostAttempt[] {
  if (!Array.isArray(value) || value.length > limits.tunnelAttemptsMax)
    throw requestInvalid('broken attempts')
  return value.map((attempt: unknown) => {
    const [tunnelId, streamId] = Array.isArray(attempt) ? attempt : []
    if (typeof tunnelId !== 'string' || !tunnelIdShape.test(tunnelId)) throw requestInvalid('broken attempts')
    if (!Number.isInteger(streamId) || streamId < 1) throw requestInvalid('broken attempts')
    return { tunnelId, streamId }
  })
}

const requestInvalid: Refuse = (what) =>
  new ProtocolError('bad_request', `The request cannot go through a tunnel: it has ${what}.`, {
    hint: 'Send a plain HTTP request.',
  })

const answerInvalid: Refuse = (what) =>
  new ProtocolError('provider_answer_invalid', `The provider's answer has ${what}.`, {
    hint: 'Tell the provider, or call another one.',
  })

function headersTooLarge(bytes: number): ProtocolError {
  return new ProtocolError('headers_too_large', `The request's head takes ${bytes} bytes in the tunnel.`, {
    hint: `Stay below ${limits.frameBytesMax} bytes.`,
    details: { bytesMax: limits.frameBytesMax },
  })
}
