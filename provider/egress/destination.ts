import { ProtocolError } from '../../protocol/errors.ts'
import { isTarget } from '../../protocol/http/header-syntax.ts'

/** Where a program's request goes. */
export interface Destination {
  readonly isSecure: boolean
  /** A name in lower case, or an address without brackets, in the one spelling that URLs give it. */
  readonly hostname: string
  readonly port: number
  /** For the `Host` header. */
  readonly host: string
  readonly origin: string
  /** Path and query as the program wrote them. */
  readonly target: string
}

/**
 * Reads the request line of a request to a proxy (RFC 9112 section 3.2.2). A host in any spelling (`0x7f.1`, `2130706433`,
 * `①②⑦.0.0.1`) has one meaning from here on.
 *
 * @throws `bad_request`
 */
export function parseDestination(requestTarget: string): Destination {
  const [, scheme, authority, target] = /^(https?):\/\/([^/\\?#]+)([/?][^#]*)?$/i.exec(requestTarget) ?? []
  if (scheme === undefined || authority === undefined || !isTarget(requestTarget)) {
    throw malformed('The request names no http or https URL.')
  }
  const url = parseAuthority(`${scheme.toLowerCase()}://${authority}`)
  const isSecure = url.protocol === 'https:'
  return {
    isSecure,
    hostname: bareHost(url),
    port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
    host: url.host,
    origin: url.origin,
    target: target === undefined ? '/' : target.startsWith('?') ? `/${target}` : target,
  }
}

/**
 * Reads what a `CONNECT` names: host and port (RFC 9110 section 9.3.6).
 *
 * @throws `bad_request`
 */
export function parsePlace(authority: string): Pick<Destination, 'hostname' | 'port'> {
  const [, host, port = ''] = /^(\[[^\]]+\]|[^/\\?#@:]+):(\d{1,5})$/.exec(authority) ?? []
  if (host === undefined || !isTarget(authority) || Number(port) < 1 || Number(port) > 65_535) {
    throw malformed('The request names no host with a port.')
  }
  // The port is left out: a URL forgets the one that is its scheme's own.
  return { hostname: bareHost(parseAuthority(`http://${host}`)), port: Number(port) }
}

function parseAuthority(text: string): URL {
  if (!URL.canParse(text)) throw malformed('The request names no host.')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '')
    throw malformed('The URL of the request has a user name in it.')
  if (url.hostname === '' || url.port === '0') throw malformed('The request names no host.')
  return url
}

/** Without brackets. */
function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '')
}

function malformed(message: string): ProtocolError {
  return new ProtocolError('bad_request', message, { hint: 'Fetch a URL such as https://api.example.com/.' })
}
