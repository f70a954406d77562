import { createBag } from '../../protocol/base/bag.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Stream } from '../../protocol/frames/mux-stream.ts'
import type {
  Upstream,
  UpstreamExchange,
  UpstreamHandler,
  UpstreamRequest,
} from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { providerBusy, providerOffline, tunnelLost } from './tunnel-errors.ts'
import { type Placer, TunnelExchange } from './tunnel-exchange.ts'
import type { TunnelSocket } from './tunnel-socket.ts'

/** All connections of one provider, as one upstream. */
export interface TunnelPool extends Upstream {
  readonly sockets: ReadonlySet<TunnelSocket>
  /** Those for requests, and those for lanes. */
  readonly allSockets: readonly TunnelSocket[]
  /** Requests that have not ended. */
  readonly inFlight: number
  /** Takes a new connection into use, for the requests that wait first. */
  join(socket: TunnelSocket): void
  /** The connection has gone. */
  leave(socket: TunnelSocket): void
  /** A stream of a connection has become large. */
  noteLarge(socket: TunnelSocket, stream: Stream): void
  /** A connection has nothing to carry any more. */
  noteIdle(socket: TunnelSocket): void
  /** Ends requests that have been silent for too long. */
  expire(nowMs: number): void
  /** Whether nothing is here, and has not been for as long as a request may wait. */
  isForgotten(nowMs: number): boolean
  /** Ends every request. */
  close(): void
}

/** @param onIdle - The last request in flight has ended. */
export const createTunnelPool = (deps: PoolDeps): TunnelPool => new ProviderPool(deps)

export interface PoolDeps {
  readonly clock: Clock
  readonly onIdle: () => void
}

/** A class, because there is one for every provider, most of which nobody calls. */
class ProviderPool implements TunnelPool, Placer {
  readonly clock: Clock
  readonly #onIdle: () => void
  readonly sockets = new Set<TunnelSocket>()
  readonly #exchanges = createBag<TunnelExchange>()
  /** Connections for what has become large, once something has. */
  #lanes: Lanes | undefined
  #parked: Map<TunnelExchange, AbortController> | undefined
  #turn = 0
  #leftAtMs: number

  constructor({ clock, onIdle }: PoolDeps) {
    this.clock = clock
    this.#onIdle = onIdle
    this.#leftAtMs = clock.monotonicMs()
  }

  get allSockets(): readonly TunnelSocket[] {
    return [...this.sockets, ...(this.#lanes?.sockets ?? [])]
  }

  get inFlight(): number {
    return this.#exchanges.size
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamExchange {
    const exchange = new TunnelExchange(this, request, handler)
    this.#exchanges.add(exchange)
    this.place(exchange)
    return exchange
  }

  join(socket: TunnelSocket): void {
    if (socket.purpose === 'lanes') {
      this.#openLanes().join(socket)
      return
    }
    this.sockets.add(socket)
    for (const exchange of [...(this.#parked?.keys() ?? [])]) {
      this.#unpark(exchange)
      this.place(exchange)
    }
  }

  leave(socket: TunnelSocket): void {
    this.sockets.delete(socket)
    this.#lanes?.leave(socket)
    this.#leftAtMs = this.clock.monotonicMs()
    // Its streams are told only now that nobody can place anything on it.
    socket.mux.close()
  }

  noteLarge(socket: TunnelSocket, stream: Stream): void {
    this.#openLanes().offer(socket, stream)
  }

  noteIdle(socket: TunnelSocket): void {
    this.#lanes?.noteIdle(socket)
  }

  expire(nowMs: number): void {
    for (const exchange of this.#exchanges.items()) exchange.expire(nowMs)
    this.#lanes?.tidy()
  }

  isForgotten(nowMs: number): boolean {
    const isUnused = this.allSockets.length === 0 && this.#exchanges.size === 0
    return isUnused && nowMs - this.#leftAtMs >= limits.tunnelParkMsMax
  }

  close(): void {
    for (const exchange of this.#exchanges.items()) exchange.fail(tunnelLost())
  }

  // For its exchanges.

  place(exchange: TunnelExchange): void {
    const candidates = [...this.sockets].filter(
      ({ isLeaving, sessionKey }) => !isLeaving && (exchange.sessionKey ?? sessionKey) === sessionKey,
    )
    const socket = leastBusy(candidates, this.#turn++)
    if (!socket) this.#park(exchange)
    else if (socket.mux.streams >= limits.streamsPerTunnelMax) exchange.fail(providerBusy())
    else exchange.start(socket)
  }

  forget(exchange: TunnelExchange): void {
    this.#unpark(exchange)
    this.#exchanges.delete(exchange)
    if (this.#exchanges.size === 0) this.#onIdle()
  }

  #park(exchange: TunnelExchange): void {
    this.#parked ??= new Map()
    if (this.#parked.size >= limits.requestsWaitingPerUpstreamMax) {
      exchange.fail(providerBusy())
      return
    }
    const waiting = new AbortController()
    this.#parked.set(exchange, waiting)
    const giveUp = () => {
      this.#parked?.delete(exchange)
      // Where it may have run already, "offline" would be a lie.
      exchange.fail(exchange.sessionKey ? tunnelLost() : providerOffline())
    }
    this.clock.sleep(limits.tunnelParkMsMax, waiting.signal).then(giveUp, () => undefined)
  }

  #unpark(exchange: TunnelExchange): void {
    this.#parked?.get(exchange)?.abort()
    this.#parked?.delete(exchange)
  }

  #openLanes(): Lanes {
    this.#lanes ??= createLanes({ clock: this.clock })
    return this.#lanes
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
