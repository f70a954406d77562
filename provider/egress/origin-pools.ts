import { createHttpPool, type HttpPool } from '../../protocol/http/h1-client.ts'
import type { Connections } from './connections.ts'
import type { Destination } from './destination.ts'

export interface PoolTimes {
  readonly firstByteTimeoutMs: number
  readonly idleTimeoutMs: number
}

/** Connections of one program, by the origin that they lead to, for as long as the next request may use them. */
export interface OriginPools extends Disposable {
  poolOf(destination: Destination): HttpPool
  /** Closes the connections to origins at which nothing is under way. */
  closeIdle(): void
}

export function createOriginPools(
  connections: Connections,
  { originsMax, requestsMax, ...times }: PoolTimes & { originsMax: number; requestsMax: number },
): OriginPools {
  /** In the order of use, the least recent first. */
  const pools = new Map<string, HttpPool>()

  function closeIdle(except?: string): void {
    for (const [origin, pool] of pools) {
      if (pool.inFlight > 0 || origin === except) continue
      pools.delete(origin)
      pool.close()
    }
  }

  return {
    poolOf(destination) {
      const { origin } = destination
      let pool = pools.get(origin)
      if (!pool && pools.size >= originsMax) closeIdle()
      pool ??= createHttpPool({
        connect: () => {
          if (connections.isFull) closeIdle(origin)
          return connections.open(destination)
        },
        connectionsMax: requestsMax,
        requestsWaitingMax: 0,
        ...times,
      })
      pools.delete(origin)
      pools.set(origin, pool)
      return pool
    },
    closeIdle: () => closeIdle(),
    [Symbol.dispose]() {
      for (const pool of pools.values()) pool.close()
      pools.clear()
    },
  }
}
