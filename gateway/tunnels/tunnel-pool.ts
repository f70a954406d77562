import type { Clock } from '../../protocol/base/clock.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { providerBusy, providerOffline, tunnelLost } from './tunnel-errors.ts'
import { type Placer, TunnelExchange } from './tunnel-exchange.ts'
import type { TunnelSocket } from './tunnel-socket.ts'

/** All connections of one provider, as one upstream. */
export interface TunnelPool extends Upstream {
  readonly sockets: ReadonlySet<TunnelSocket>
  /** Connections for what has become large. */
  readonly lanes: Lanes
  /** Requests that have not ended. */
  readonly inFlight: number
  /** Takes a new connection into use, for the requests that wait first. */
  join(socket: TunnelSocket): void
  /** The connection has gone. */
  leave(socket: TunnelSocket): void
  /** Ends requests that have been silent for too long. */
  expire(nowMs: number): void
  /** Whether nothing is here, and has not been for as long as a request may wait. */
  isForgotten(nowMs: number): boolean
  /** Ends every request. */
  close(): void
}

/** @param onIdle - The last request in flight has ended. */
export function createTunnelPool({ clock, onIdle }: { clock: Clock; onIdle: () => void }): TunnelPool {
  const sockets = new Set<TunnelSocket>()
  const lanes = createLanes({ clock })
  const exchanges = new Set<TunnelExchange>()
  const parked = new Map<TunnelExchange, AbortController>()

  let turn = 0
  let leftAtMs = clock.monotonicMs()

  const place = (exchange: TunnelExchange): void => {
    const candidates = [...sockets].filter(
      ({ isLeaving, sessionKey }) => !isLeaving && (exchange.sessionKey ?? sessionKey) === sessionKey,
    )
    const socket = leastBusy(candidates, turn++)
    if (!socket) park(exchange)
    else if (socket.mux.streams >= limits.streamsPerTunnelMax) exchange.fail(providerBusy())
    else exchange.start(socket)
  }

  const park = (exchange: TunnelExchange): void => {
    if (parked.size >= limits.requestsWaitingPerUpstreamMax) {
      exchange.fail(providerBusy())
      return
    }
    const waiting = new AbortController()
    parked.set(exchange, waiting)
    const giveUp = () => {
      parked.delete(exchange)
      // Where it may have run already, "offline" would be a lie.
      exchange.fail(exchange.sessionKey ? tunnelLost() : providerOffline())
    }
    clock.sleep(limits.tunnelParkMsMax, waiting.signal).then(giveUp, () => undefined)
  }

  const unpark = (exchange: TunnelExchange): void => {
    parked.get(exchange)?.abort()
    parked.delete(exchange)
  }

  const placer: Placer = {
    clock,
    place,
    forget(exchange) {
      unpark(exchange)
      exchanges.delete(exchange)
      if (exchanges.size === 0) onIdle()
    },
  }

  return {
    sockets,
    lanes,
    get inFlight() {
      return exchanges.size
    },
    send(request, handler) {
      const exchange = new TunnelExchange(placer, request, handler)
      exchanges.add(exchange)
      place(exchange)
      return exchange
    },
    join(socket) {
      if (socket.purpose === 'lanes') {
        lanes.join(socket)
        return
      }
      sockets.add(socket)
      for (const exchange of [...parked.keys()]) {
        unpark(exchange)
        place(exchange)
      }
    },
    leave(socket) {
      sockets.delete(socket)
      lanes.leave(socket)
      leftAtMs = clock.monotonicMs()
      // Its streams are told only now that nobody can place anything on it.
      socket.mux.close()
    },
    expire(nowMs) {
      for (const exchange of exchanges) exchange.expire(nowMs)
      lanes.tidy()
    },
    isForgotten: (nowMs) =>
      sockets.size + lanes.sockets.size === 0 &&
      exchanges.size === 0 &&
      nowMs - leftAtMs >= limits.tunnelParkMsMax,
    close() {
      for (const exchange of [...exchanges]) exchange.fail(tunnelLost())
    },
  }
}

/**
 * Fewest in flight: under loss it keeps the 90th percentile at a sixth of what taking turns gives. Among equals they take
 * turns, so that calls one by one use every replica, too.
 */
function leastBusy(sockets: readonly TunnelSocket[], turn: number): TunnelSocket | undefined {
  let best: TunnelSocket | undefined
  for (let index = 0; index < sockets.length; index++) {
    const socket = sockets[(turn + index) % sockets.length] as TunnelSocket
    if (!best || socket.mux.streams < best.mux.streams) best = socket
  }
  return best
}
