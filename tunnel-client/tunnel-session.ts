import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { type LostAttempt, parseLaneHead } from '../protocol/frames/head.ts'
import { createLiveness } from '../protocol/frames/liveness.ts'
import { createMux } from '../protocol/frames/mux.ts'
import type { Stream } from '../protocol/frames/mux-stream.ts'
import { createWebSocketTransport } from '../protocol/frames/websocket.ts'
import type { RequestListener } from '../protocol/http/listener.ts'
import { limits } from '../protocol/limits.ts'
import type { DialedTunnel } from './dial-tunnel.ts'
import { serveStream } from './serve-stream.ts'
import { takeLane } from './take-lane.ts'
import type { TakenStreams } from './taken-streams.ts'

/** One connection on which requests are served. */
export interface TunnelSession {
  readonly tunnelId: string
  readonly streams: number
  readonly rttMs: number | undefined
  /** Wall time. */
  readonly connectedAtMs: number
  /** That were taken so far. */
  readonly requests: number
  readonly receivedBytes: number
  readonly sentBytes: number
  /** A stream that is not over. */
  find(streamId: number): Stream | undefined
  /** Resolves when the connection has gone. */
  readonly closed: Promise<void>
  /** Resolves when a new connection should be dialled: this one has gone, or its gateway will. */
  readonly ending: Promise<void>
  /** Takes no more requests, finishes those it has (at most 30 s), and closes. */
  leave(): Promise<void>
  /** Ends it now. */
  cut(): void
  /** Looks whether the gateway is still there; to be called about once a second. */
  check(): void
  /** This machine may have slept: the gateway has two seconds to say that it is there. */
  suspect(): void
}

export interface SessionOptions {
  readonly clock: Clock
  readonly log: Log
  readonly handler: RequestListener
  readonly taken: TakenStreams
  /** A stream of any connection of this process. */
  readonly findStream: (place: LostAttempt) => Stream | undefined
  /** The gateway has use for one more connection, for lanes. */
  readonly onMore: () => void
}

/** Starts serving on a connection that has been admitted. */
export function startTunnelSession(options: SessionOptions, dialed: DialedTunnel): TunnelSession {
  const { clock, handler, taken } = options
  const { webSocket, socket, inbox, tunnelId } = dialed
  const log = options.log.with({ tunnelId })
  const lifetime = new AbortController()
  const closed = Promise.withResolvers<void>()
  const ending = Promise.withResolvers<void>()
  let isLeaving = false
  let requests = 0

  const mux = createMux({
    transport: createWebSocketTransport(webSocket, socket),
    clock,
    onMore: options.onMore,
    onStream(stream, head) {
      const place = readLane(head)
      if (place) return takeLane(stream, options.findStream(place))
      requests++
      return serveStream(
        { log, handler, taken, remoteAddress: socket.remoteAddress, isLeaving: () => isLeaving },
        stream,
        head,
      )
    },
    onGoaway() {
      log.info('gateway_leaving')
      ending.resolve()
      cutLater()
    },
    onInvalid: (error) => log.warn('tunnel_invalid', { error: error.message }),
  })

  const onClosed = () => {
    lifetime.abort()
    mux.close()
    ending.resolve()
    closed.resolve()
  }
  const cut = () => {
    mux.close()
    webSocket.terminate()
  }
  /** Whoever leaves, the gateway is the one to close; it is not waited for longer than this. */
  const cutLater = () =>
    void clock.sleep(limits.shutdownTimeoutMs, lifetime.signal).then(cut, () => undefined)
  webSocket.on('close', onClosed)
  // An error is followed by a close, which says all that matters.
  webSocket.on('error', (error) => log.debug('tunnel_socket_failed', { error: String(error) }))
  if (webSocket.readyState === webSocket.CLOSED) onClosed()

  const liveness = createLiveness({ mux, clock, onDead: cut })
  const session: TunnelSession = {
    tunnelId,
    get streams() {
      return mux.streams
    },
    get rttMs() {
      return mux.rttMs
    },
    connectedAtMs: clock.nowMs(),
    get requests() {
      return requests
    },
    get receivedBytes() {
      return socket.bytesRead
    },
    get sentBytes() {
      return socket.bytesWritten
    },
    find: (streamId) => mux.find(streamId),
    closed: closed.promise,
    ending: ending.promise,
    async leave() {
      isLeaving = true
      mux.goaway()
      // The gateway closes once nothing is on its way any more: only it knows what it has sent.
      cutLater()
      await closed.promise
    },
    cut,
    check: () => liveness.check(),
    suspect: () => liveness.suspect(),
  }
  taken.remember({
    tunnelId,
    get lastPeerStreamId() {
      return mux.lastPeerStreamId
    },
    cut,
  })
  inbox.handOver((message) => mux.receive(message))
  return session
}

/** What is neither a request nor a lane is left to whoever reads requests, and refused there. */
function readLane(head: string): LostAttempt | undefined {
  try {
    return parseLaneHead(head)
  } catch {
    return undefined
  }
}
