import { ProtocolError } from '../../protocol/errors.ts'
import { connectionOptions, headerValues } from '../../protocol/http/headers.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'

/** A request as it came in; Node's own is one. */
export interface CallerRequest extends IncomingRequest {
  readonly httpVersion: string
  /** Whether all of it has come. */
  readonly complete: boolean
}

/** What the gateway reads out of a request before it knows whom it is for. */
export interface RequestShape {
  readonly method: string
  /** Path and query, in origin form. */
  readonly target: string
  /** As the caller wrote it; exactly one. */
  readonly host: string
}

/** Headers that belong to the whole way: a `Connection` that names one wants it to vanish on the next hop only. */
const endToEnd = ['host', 'content-length', 'authorization', 'via', 'x-request-id', 'content-type', 'cookie']

/**
 * Refuses what Node's parser lets through although the next server may read it as something else (request smuggling):
 * two hosts, a target that disagrees with the host, transfer codings beside `chunked`, headers hidden by `Connection`.
 *
 * @throws `bad_request`, `method_not_allowed`, `headers_too_large`
 */
export function readRequestShape(request: CallerRequest): RequestShape {
  const { method = '', url = '', headers } = request
  if (method === 'TRACE' || method === 'CONNECT') {
    throw new ProtocolError('method_not_allowed', `${method} is not passed on.`, {
      hint: 'Use another method.',
    })
  }
  const hosts = headerValues(request.rawHeaders, 'host')
  const [host] = hosts
  if (host === undefined || hosts.length > 1) refuse('A request names one host.')
  if (url.length > limits.targetBytesMax) {
    throw new ProtocolError('headers_too_large', `The URL has more than ${limits.targetBytesMax} bytes.`, {
      hint: 'Send what is long in the body.',
    })
  }
  checkTransferEncoding(request)
  if (isHandshake(request)) checkHandshake(request)
  const hidden = connectionOptions(headers['connection'] as string | undefined).find(
    (option) => endToEnd.includes(option) || option.startsWith('x-forwarded-'),
  )
  if (hidden !== undefined) refuse(`Connection may not name ${hidden}.`)
  return { method, host, target: readTarget(method, url, host) }
}

function checkTransferEncoding({ httpVersion, rawHeaders, headers }: CallerRequest): void {
  if (headers['transfer-encoding'] === undefined) return
  const codings = headerValues(rawHeaders, 'transfer-encoding')
  if (codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked') {
    refuse('The only transfer coding is chunked.')
  }
  if (httpVersion === '1.0') refuse('HTTP/1.0 has no transfer codings.')
  if (headers['content-length'] !== undefined) refuse('A body has a length or is chunked, not both.')
}

/** Whether Node took it for the beginning of another protocol: what follows the head is then not HTTP. */
function isHandshake({ headers }: CallerRequest): boolean {
  return typeof headers['upgrade'] === 'string' && headers['upgrade'].toLowerCase() === 'websocket'
}

function checkHandshake({ method, headers }: CallerRequest): void {
  const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
  if (method !== 'GET' || hasBody) refuse('A WebSocket handshake is a GET without a body.')
}

function readTarget(method: string, url: string, host: string): string {
  if (url.startsWith('/')) return url
  if (url === '*' && method === 'OPTIONS') return url
  // Absolute form, as to a proxy: allowed where it says the same as the Host header (RFC 9112 section 3.2.2).
  const [, authority, rest = ''] = /^https?:\/\/([^/?#]+)(.*)$/i.exec(url) ?? []
  if (authority?.toLowerCase() !== host.toLowerCase()) refuse('The target and the host disagree.')
  return rest.startsWith('/') ? rest : `/${rest}`
}

/**
 * A service worker's script governs the folder that it lies in, and `/<cid>` lies in the root, where all deployments of
 * the provider are.
 *
 * @throws `bad_request`
 */
export function refuseWideServiceWorker({ headers }: CallerRequest, target: string): void {
  if (headers['service-worker'] === undefined || /^\/[^/?#]+\//.test(target)) return
  refuse('A service worker lies below the path of its deployment.')
}

/** @throws `provider_address_blocked` where a request has been through this gateway before. */
export function refuseLoop({ headers: { via } }: CallerRequest, ownName: string): void {
  if (typeof via !== 'string') return
  const hops = via.split(',').map((hop) => hop.trim().split(' ')[1])
  if (!hops.includes(ownName)) return
  throw new ProtocolError(
    'provider_address_blocked',
    'The address of this provider leads back to this gateway.',
    { hint: 'The provider has to register its own address.' },
  )
}

function refuse(message: string): never {
  throw new ProtocolError('bad_request', message, { hint: 'Send plain HTTP/1.1, as curl does.' })
}
