import type { Address } from 'viem'
import { connectReader } from '../../protocol/http/connect-reader.ts'
import { createHttpPool, type HttpPool } from '../../protocol/http/h1-client.ts'
import { processHopHeader } from '../../protocol/http/headers.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { GatewayTunnels } from '../gateway.ts'

/** A process of the same gateway, and whose tunnels end there. */
export interface Sibling {
  /** Its Unix socket for what comes from the others. */
  readonly path: string
  readonly providers: readonly Address[]
}

/** In `processHopHeader`, where it is for the gateway's own pages and not for a provider's account. */
export const controlHop = 'control'

/** The other processes of this gateway. */
export interface Siblings extends Disposable {
  /** A way to the process that has this provider's tunnel; undefined where none has. */
  upstreamFor(provider: Address): Upstream | undefined
  /** A way to the process at this socket, for the gateway's own pages. */
  controlAt(path: string): Upstream
  providers(): readonly Address[]
  set(siblings: readonly Sibling[]): void
}

export function createSiblings(): Siblings {
  const pools = new Map<string, HttpPool>()
  let paths = new Map<Address, string>()

  function poolAt(path: string): HttpPool {
    const known = pools.get(path)
    if (known) return known
    const pool = createHttpPool({
      connect: () => connectReader({ path }),
      connectionsMax: limits.hopConnectionsMax,
      firstByteTimeoutMs: limits.callTimeoutMsMax + 10_000,
      continueTimeoutMs: Number.POSITIVE_INFINITY,
    })
    pools.set(path, pool)
    return pool
  }

  const hopTo = (path: string, target: string): Upstream => ({
    send: (request, handler) =>
      poolAt(path).send(
        { ...request, rawHeaders: [...request.rawHeaders, processHopHeader, target] },
        handler,
      ),
  })

  return {
    upstreamFor(provider) {
      const path = paths.get(provider)
      return path === undefined ? undefined : hopTo(path, provider)
    },
    controlAt: (path) => hopTo(path, controlHop),
    providers: () => [...paths.keys()],
    set(siblings) {
      // One that was started again has another socket.
      for (const [path, pool] of pools) {
        if (pool.inFlight > 0 || siblings.some((sibling) => sibling.path === path)) continue
        pools.delete(path)
        pool.close()
      }
      paths = new Map(
        siblings.flatMap(({ path, providers }) => providers.map((provider) => [provider, path])),
      )
    },
    [Symbol.dispose]() {
      for (const pool of pools.values()) pool.close()
    },
  }
}

/** Tunnels of this process first, then those of the others: one hop, as a process is asked only for its own. */
export function withSiblings(
  own: GatewayTunnels,
  { siblings, has }: { readonly siblings: Siblings; readonly has: (provider: Address) => boolean },
): GatewayTunnels {
  return {
    upgrade: own.upgrade,
    upstreamFor: (provider) =>
      has(provider)
        ? own.upstreamFor(provider)
        : (siblings.upstreamFor(provider) ?? own.upstreamFor(provider)),
    hasTunnel: (provider) => own.hasTunnel(provider) || siblings.upstreamFor(provider) !== undefined,
    connected: () => [...own.connected(), ...siblings.providers().map((provider) => ({ provider }))],
    recheck: own.recheck,
    drain: own.drain,
    [Symbol.asyncDispose]: () => own[Symbol.asyncDispose](),
  }
}
