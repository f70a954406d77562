import http from 'node:http'
import https from 'node:https'
import { readBounded } from '../protocol/base/bytes.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { loopbackLookup } from '../tunnel-client/loopback-lookup.ts'

export interface HttpRequest {
  readonly url: URL
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** The most that is read of the answer. */
  readonly bytesMax: number
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
 * @throws ProtocolError `content_too_large` past `bytesMax`; the system's own error where nobody answers
 */
export async function requestHttp(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { url, bytesMax } = request
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.contentFetchTimeoutMs)])
  const response = await openHttp(request, deadline)
  const bytes = await readBounded(response, bytesMax)
  if (bytes) return { status: response.statusCode ?? 0, headers: response.headers, body: bytes }
  throw new ProtocolError('content_too_large', `${url.host} answers with more than ${bytesMax} bytes.`, {
    hint: 'Check that this is the right address.',
  })
}

/** Sends one request; the body of the answer is to be read. Resolves with its head. */
export function openHttp(
  { url, method = 'GET', headers = {}, body }: Omit<HttpRequest, 'bytesMax'>,
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
    }
    const sent = open(url, options as https.RequestOptions, resolve)
    sent.on('error', reject)
    sent.end(body)
  })
}

/** Whether `http.setGlobalProxyFromEnv` was told of a proxy. */
function isProxied(): boolean {
  const { options } = http.globalAgent as http.Agent & { readonly options: { readonly proxyEnv?: unknown } }
  return options.proxyEnv !== undefined
}
