import { isIP } from 'node:net'
import { ProtocolError } from '../../protocol/errors.ts'
import { mayDial } from '../../protocol/http/address-rules.ts'
import { limits } from '../../protocol/limits.ts'

/** How a provider says it is reached. */
export type ProviderServer =
  | { readonly kind: 'direct'; readonly origin: DirectOrigin }
  /** Through the tunnel at the gateway with this host (and port, unless it is the scheme's own). */
  | { readonly kind: 'tunnel'; readonly gatewayHost: string }

export interface DirectOrigin {
  readonly isSecure: boolean
  /** A name, or an address without brackets. */
  readonly hostname: string
  readonly port: number
  /** For the `Host` header. */
  readonly host: string
}

/**
 * Reads the `server` record of a Resolver, which is hostile input. Names are resolved, and what they resolve to is
 * checked, only when they are dialled.
 *
 * @throws `provider_address_blocked`
 */
export function parseProviderServer(
  server: string,
  { allowPrivate }: { readonly allowPrivate: boolean },
): ProviderServer {
  if (Buffer.byteLength(server) > limits.serverUrlBytesMax) refuse('is too long')
  if (!/^[a-z]+:\/\//i.test(server) || !URL.canParse(server)) refuse('is no URL')
  const url = new URL(server)
  if (url.username !== '' || url.password !== '') refuse('carries a user name')
  if (url.hostname === '') refuse('has no host')
  if (url.protocol === 'ws:' || url.protocol === 'wss:') return { kind: 'tunnel', gatewayHost: url.host }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') refuse('is neither http nor https')
  if ((url.pathname !== '/' && url.pathname !== '') || url.search !== '' || url.hash !== '') {
    refuse('has more than scheme, host and port')
  }
  return { kind: 'direct', origin: checkOrigin(url, allowPrivate) }
}

function checkOrigin(url: URL, allowPrivate: boolean): DirectOrigin {
  const isSecure = url.protocol === 'https:'
  const port = url.port === '' ? (isSecure ? 443 : 80) : Number(url.port)
  if (!allowPrivate && port !== 80 && port !== 443 && port < 1024) refuse(`names port ${port}`)
  // A URL spells every form of an address (0x7f.1, 2130706433, ①②⑦.0.0.1) the same way.
  const hostname = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (isIP(hostname) !== 0 && !mayDial(hostname, { allowPrivate })) refuse(`names ${hostname}`)
  return { isSecure, hostname, port, host: url.host }
}

function refuse(what: string): never {
  throw new ProtocolError('provider_address_blocked', `The address that this provider registered ${what}.`, {
    hint: 'The provider has to set an address such as https://example.org in its resolver.',
  })
}
