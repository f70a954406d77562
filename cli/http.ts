import http from 'node:http'
import https from 'node:https'
import { readBounded } from '../protocol/base/bytes.ts'
import { type ErrorCode, isProtocolError, ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { loopbackLookup } from '../tunnel-client/loopback-lookup.ts'

export interface HttpRequest {
  readonly url: URL
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** The most that is read of the answer. */
  readonly bytesMax: number
  /** What to tell where nobody answers, in place of `provider_unreachable`. */
  readonly silence?: Silence
}

export interface Silence {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Uint8Array
}

/**
 * Sends one request; an answer of any status is an answer. Names under `localhost` are this machine (RFC 6761), which
 * `fetch` does not know on machines whose resolver does not.
 *
 * @throws ProtocolError `provider_unreachable` where nobody answers in time and to the end; `content_too_large` past `bytesMax`
 */
export async function requestHttp(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, bytesMax } = request
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.contentFetchTimeoutMs)])
  const response = await openHttp(request, deadline)
  const bytes = await readBounded(readBody(response, request, deadline), bytesMax)
  if (bytes) return { status: response.statusCode ?? 0, headers: response.headers, body: bytes }
  throw new ProtocolError('content_too_large', `${url.host} answers with more than ${bytesMax} bytes.`, {
    hint: 'Check that this is the right address.',
  })
}

/** Sends one request; the body of the answer is to be read. Resolves with its head. @throws as `requestHttp`, with `reached: false` where nothing was sent */
export function openHttp(
  { url, method = 'GET', headers = {}, body, silence }: Omit<HttpRequest, 'bytesMax'>,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { request: open } = url.protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const length = body ? { 'content-length': body.byteLength } : {}
    const options = {
      method,
      headers: { ...headers, ...length },
      signal,
      // A connection of its own; through a proxy it is the agent that knows the way.
      ...(!isProxied() && { agent: false }),
      lookup: loopbackLookup,
      // Those of a swarm's answer hold votes and receipts.
      maxHeaderSize: 2 * limits.headerBytesMax,
    }
    const sent = open(url, options as https.RequestOptions, resolve)
    let reached = false
    // Through a proxy nobody knows how far it came.
    sent.on('socket', (socket) => {
      if (!socket.connecting || isProxied()) reached = true
      else
        socket.once('connect', () => {
          reached = true
        })
    })
    sent.on('error', (cause) => reject(toFailure(cause, { url, silence, reached }, signal)))
    sent.end(body)
  })
}

/** The body of an answer, piece by piece. @throws as `requestHttp` */
export async function* readBody(
  response: http.IncomingMessage,
  asked: Pick<HttpRequest, 'url' | 'silence'>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* response
  } catch (cause) {
    throw toFailure(cause, asked, signal)
  }
}

/** Ctrl-C is no failure of the other end; a deadline is. */
function toFailure(
  cause: unknown,
  {
    url,
    silence,
    reached = true,
  }: { readonly url: URL; readonly silence?: Silence | undefined; readonly reached?: boolean },
  signal: AbortSignal,
): unknown {
  if (isProtocolError(cause)) return cause
  if (signal.aborted && signal.reason?.name !== 'TimeoutError') return signal.reason
  const { code } = cause as { code?: unknown }
  const why = signal.aborted ? 'too late' : typeof code === 'string' ? code : 'broken off'
  const {
    code: told,
    message,
    hint,
  } = silence ?? {
    code: 'provider_unreachable',
    message: `${url.origin} does not answer (${why}).`,
    hint: 'Check the address, and that the server runs.',
  }
  return new ProtocolError(told, message, { hint, cause, ...(!reached && { details: { reached } }) })
}

/** Whether `http.setGlobalProxyFromEnv` was told of a proxy. */
function isProxied(): boolean {
  const { options } = http.globalAgent as http.Agent & { readonly options: { readonly proxyEnv?: unknown } }
  return options.proxyEnv !== undefined
}
