import type { Address } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import type { DialOptions } from '../../protocol/http/dial-checked.ts'
import { createHttpPool, type HttpPool } from '../../protocol/http/h1-client.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import { connectToProvider } from './connect-provider.ts'
import { parseProviderServer } from './provider-url.ts'

/** Where providers that connected by themselves are found. */
export interface TunnelDirectory {
  /** What reaches this provider, or undefined while it has no live tunnel here. */
  upstreamFor(provider: Address): Upstream | undefined
}

/** Where the requests for one provider go. */
export interface ProviderRoute {
  readonly upstream: Upstream
  /** What the provider is to see as `Host`; undefined for what the caller sent. */
  readonly host: string | undefined
  /** Who has taken the request, where the route leads to several; known once the answer begins. */
  readonly servedBy?: () => string | undefined
  /** Why it was that one. */
  readonly routeReason?: () => string | undefined
  /** To whom the request was offered: see `gatewayHeaders.attempt`. */
  readonly attempts?: () => readonly string[]
}

export interface ProviderRoutes extends Disposable {
  /** @throws `provider_offline`, `provider_address_blocked` */
  routeTo(provider: ProviderName): ProviderRoute
}

export interface ProviderRoutesOptions extends DialOptions {
  /** Hosts, with port, by which a `server` record means this gateway's own tunnel. */
  readonly ownHosts: readonly string[]
}

interface PooledRoute extends ProviderRoute {
  readonly pools: readonly HttpPool[]
}

/** An answer may take as long as the longest call, and a little for the way. */
const firstByteTimeoutMs = limits.callTimeoutMsMax + 10_000

/**
 * A live tunnel comes first: whoever opened it has proved to be the provider. Else the provider's own address, with
 * connections that no other provider shares.
 */
export function createProviderRoutes(
  tunnels: TunnelDirectory,
  options: ProviderRoutesOptions,
): ProviderRoutes {
  const routes = new Map<string, PooledRoute>()

  function openRoute(provider: ProviderName): PooledRoute {
    const server = parseProviderServer(provider.server, options)
    if (server.kind === 'tunnel') throw offline(provider, server.gatewayHost)
    const { origin } = server
    if (options.ownHosts.includes(origin.host)) throw offline(provider, origin.host)
    const pool = createHttpPool({
      connect: () => connectToProvider(origin, options),
      connectionsMax: limits.connectionsPerUpstreamMax,
      firstByteTimeoutMs,
    })
    // WebSockets last; if they came out of the same number, a few of them could keep every other call waiting.
    const webSockets = createHttpPool({
      connect: () => connectToProvider(origin, options),
      connectionsMax: limits.webSocketsPerUpstreamMax,
      requestsWaitingMax: 0,
      firstByteTimeoutMs,
    })
    const upstream: Upstream = {
      send: (request, handler) => (request.switchesTo ? webSockets : pool).send(request, handler),
    }
    return { upstream, host: origin.host, pools: [pool, webSockets] }
  }

  /** The oldest first, and never one that carries a request. */
  function closeIdlePools(): void {
    for (const [key, { pools }] of routes) {
      if (routes.size <= limits.providerPoolsMax) break
      if (pools.some(({ inFlight }) => inFlight > 0)) continue
      routes.delete(key)
      for (const pool of pools) pool.close()
    }
  }

  return {
    routeTo(provider) {
      const tunnel = tunnels.upstreamFor(provider.address)
      if (tunnel) return { upstream: tunnel, host: undefined }
      const key = `${provider.address} ${provider.server}`
      const known = routes.get(key)
      if (known) return known
      const route = openRoute(provider)
      routes.set(key, route)
      closeIdlePools()
      return route
    },
    [Symbol.dispose]() {
      for (const { pools } of routes.values()) for (const pool of pools) pool.close()
      routes.clear()
    },
  }
}

function offline({ name }: ProviderName, gatewayHost: string): ProtocolError {
  return new ProtocolError('provider_offline', `The provider ${name} has no tunnel to this gateway now.`, {
    hint: 'Send it again later, or call another provider.',
    details: { provider: name, tunnelAt: gatewayHost },
  })
}
