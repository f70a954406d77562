import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Address, getAddress, isAddressEqual, type TypedDataDomain } from 'viem'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { type ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import {
  createHandshakeInbox,
  type HandshakeInbox,
  tunnelSocketOptions,
} from '../../protocol/frames/websocket.ts'
import { rawProblem } from '../../protocol/http/problem-response.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import {
  formatTunnelMessage,
  tunnelSubprotocol,
  type VerifyContractSignature,
} from '../../protocol/tunnel.ts'
import { createTicketOffice } from '../../protocol/tunnel-ticket.ts'
import { type Admission, type AdmissionDeps, admitTunnel, type ResolveProvider } from './admit-tunnel.ts'
import { createHandshakeLimiter } from './handshake-limiter.ts'
import { gatewayLeaves, handshakeTimedOut, tooMany, versionUnknown } from './tunnel-errors.ts'
import { createTunnelPool, type TunnelPool } from './tunnel-pool.ts'
import { type AdmittedSocket, closeCodes, closeNow, openTunnel, type TunnelSocket } from './tunnel-socket.ts'

/** Where providers without an address connect, and by which requests reach them. */
export interface TunnelHub extends AsyncDisposable {
  /** Takes a WebSocket handshake for `/_/tunnel` of this client, or answers it with a problem. Owns the socket from here on. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, client: string): void
  /** @returns undefined where the provider has no tunnel, and had none within the last two seconds. */
  upstreamFor(provider: Address): Upstream | undefined
  /** Whether one of its tunnels stands at this moment. */
  hasTunnel(provider: Address): boolean
  connected(): readonly ConnectedTunnel[]
  /** Reads the names of a provider's tunnels again, and closes those that belong to somebody else now. */
  recheck(provider: Address, signal: AbortSignal): Promise<void>
  /**
   * Takes no more tunnels, asks every provider to dial elsewhere, and waits until no request is in flight.
   *
   * @throws the reason of `signal`, with requests still in flight; `dispose` ends them.
   */
  drain(signal: AbortSignal): Promise<void>
}

export interface ConnectedTunnel {
  readonly tunnelId: string
  readonly provider: Address
  readonly name: string
  /** Requests in flight. */
  readonly streams: number
  readonly rttMs: number | undefined
  /** Wall time. */
  readonly connectedAtMs: number
}

export interface TunnelHubOptions {
  readonly clock: Clock
  readonly log: Log
  /** Of everything that this network signs: `marketDomain`. */
  readonly domain: TypedDataDomain
  /** Host, and port unless it is the scheme's own, by which providers dial this gateway. */
  readonly gatewayHost: string
  readonly resolveProvider: ResolveProvider
  /** Absent: contract accounts cannot open tunnels. */
  readonly verifyContractSignature?: VerifyContractSignature
  /** 32 bytes; gateways that share them take each other's resume tickets. Absent: tickets end with the process. */
  readonly ticketKey?: Uint8Array
  /** Connections of all providers together. */
  readonly tunnelsMax?: number
  /** Hears when a provider has its first tunnel here, and when it has lost its last. */
  readonly onPresence?: (provider: Address, isPresent: boolean) => void
}

const closeTimeoutMs = 2_000

/** A hub for one gateway process. It lives until disposed. */
export function createTunnelHub(options: TunnelHubOptions): TunnelHub {
  const { clock, gatewayHost, resolveProvider } = options
  const log = options.log.with({ part: 'tunnels' })
  const key = options.ticketKey ?? randomBytes(32)
  const tickets = createTicketOffice({ nowMs: () => clock.nowMs() }, { key, gatewayHost })
  const admission: AdmissionDeps = { ...options, tickets }
  const limiter = createHandshakeLimiter({ clock })
  const server = new WebSocketServer({
    ...tunnelSocketOptions,
    noServer: true,
    clientTracking: false,
    handleProtocols: (offered) => (offered.has(tunnelSubprotocol) ? tunnelSubprotocol : false),
  })
  const pools = new Map<Address, TunnelPool>()
  const stop = new AbortController()
  const running = new Set<Promise<void>>()
  const webSockets = new Set<WebSocket>()
  let tunnels = 0
  let isLeaving = false
  let onIdle = () => {}
  const allClosed = Promise.withResolvers<void>()

  const run = (task: Promise<void>) => {
    running.add(task)
    task.finally(() => running.delete(task))
  }

  const poolOf = (provider: Address): TunnelPool => {
    const existing = pools.get(provider)
    if (existing) return existing
    const pool = createTunnelPool({ clock, onIdle: () => onIdle() })
    pools.set(provider, pool)
    return pool
  }

  const serve = async (webSocket: WebSocket, socket: Duplex, client: string): Promise<void> => {
    webSockets.add(webSocket)
    webSocket.once('close', () => {
      webSockets.delete(webSocket)
      if (stop.signal.aborted && webSockets.size === 0) allClosed.resolve()
    })
    webSocket.on('error', (error) => log.debug('tunnel_socket_failed', { error: String(error) }))
    const lifetime = new AbortController()
    const abort = () => lifetime.abort()
    webSocket.once('close', abort)
    const inbox = createHandshakeInbox(webSocket, limits.tunnelHandshakeBytesMax)
    const admitted = await shakeHands(webSocket, inbox, lifetime.signal).finally(() => limiter.end(client))
    if (!admitted || webSocket.readyState !== webSocket.OPEN) return
    webSocket.off('close', abort)
    takeIntoUse({ webSocket, socket, inbox, admitted })
  }

  /** What is held from here on, a gateway holds for each of its tunnels: nothing waits in an async function. */
  const takeIntoUse = (facts: Pick<AdmittedSocket, 'webSocket' | 'socket' | 'inbox' | 'admitted'>): void => {
    const { webSocket, admitted } = facts
    const pool = poolOf(admitted.provider)
    const tunnel = openTunnel({
      ...{ clock, log, ...facts },
      onLarge: (from, stream) => pool.noteLarge(from, stream),
      onIdle: (from) => pool.noteIdle(from),
    })
    tunnels++
    webSocket.once('close', () => {
      tunnels--
      pool.leave(tunnel)
      if (pool.sockets.size === 0) options.onPresence?.(tunnel.provider, false)
      log.info('tunnel_lost', describe(tunnel))
    })
    webSocket.send(
      formatTunnelMessage<'welcome'>({
        type: 'welcome',
        tunnelId: tunnel.tunnelId,
        provider: admitted.provider,
        ticket: tickets.issue(admitted),
      }),
    )
    tunnel.checkLiveness()
    pool.join(tunnel)
    if (pool.sockets.size === 1) options.onPresence?.(admitted.provider, true)
    log.info('tunnel_connected', describe(tunnel))
    if (isLeaving) tunnel.mux.goaway()
  }

  const shakeHands = async (
    webSocket: WebSocket,
    inbox: HandshakeInbox,
    lifetime: AbortSignal,
  ): Promise<Admission | undefined> => {
    const over = new AbortController()
    const expire = () => over.abort(handshakeTimedOut())
    clock.sleep(limits.tunnelHandshakeTimeoutMs, over.signal).then(expire, () => undefined)
    const signal = AbortSignal.any([stop.signal, lifetime, over.signal])
    try {
      const line = { read: inbox.read, send: (text: string) => webSocket.send(text) }
      const admitted = await raceSignal(admitTunnel(admission, line, signal), signal)
      const sockets = pools.get(admitted.provider)?.allSockets ?? []
      const own = sockets.filter(({ sessionKey }) => sessionKey === admitted.sessionKey).length
      if (own >= limits.tunnelSocketsPerProcessMax) throw tooMany('tunnels of this process')
      if (sockets.length >= limits.tunnelSocketsPerProviderMax) throw tooMany('tunnels of this provider')
      return admitted
    } catch (error) {
      refuse(webSocket, error, lifetime)
      return undefined
    } finally {
      over.abort()
    }
  }

  const refuse = (webSocket: WebSocket, error: unknown, lifetime: AbortSignal): void => {
    const refusal = toProtocolError(error)
    const facts = { code: refusal.code, error: refusal.message }
    if (refusal.code === 'internal') log.error('tunnel_refused', { ...facts, cause: String(error) })
    else log.info('tunnel_refused', facts)
    if (webSocket.readyState !== webSocket.OPEN) return
    webSocket.send(formatTunnelMessage<'refused'>({ type: 'refused', problem: refusal.toProblem() }))
    webSocket.close(closeCodes.refused, refusal.code)
    // Whoever does not close in turn is not waited for.
    const terminate = () => webSocket.terminate()
    clock.sleep(closeTimeoutMs, AbortSignal.any([stop.signal, lifetime])).then(terminate, terminate)
  }

  const sweep = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await clock.sleep(limits.tunnelTickMs, stop.signal).catch(() => undefined)
      for (const [provider, pool] of pools) {
        pool.expire(clock.monotonicMs())
        for (const tunnel of pool.allSockets) tunnel.checkLiveness()
        if (pool.isForgotten(clock.monotonicMs())) pools.delete(provider)
      }
    }
  }
  run(sweep())

  const findObstacle = ({ headers }: IncomingMessage, client: string): ProtocolError | undefined => {
    const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim())
    if (!offered.includes(tunnelSubprotocol)) return versionUnknown()
    if (isLeaving) return gatewayLeaves()
    if (tunnels >= (options.tunnelsMax ?? limits.tunnelsMax)) return tooMany('tunnels')
    return limiter.tryBegin(client) ? undefined : tooMany('handshakes')
  }

  const allSockets = () => [...pools.values()].flatMap(({ allSockets: sockets }) => sockets)
  const inFlight = () => [...pools.values()].reduce((sum, pool) => sum + pool.inFlight, 0)

  return {
    upgrade(request, socket, head, client) {
      socket.on('error', () => socket.destroy())
      const obstacle = findObstacle(request, client)
      if (obstacle) socket.end(rawProblem(obstacle))
      else {
        if ('setNoDelay' in request.socket) request.socket.setNoDelay(true)
        let isTaken = false
        server.handleUpgrade(request, socket, head, (webSocket) => {
          isTaken = true
          run(serve(webSocket, socket, client))
        })
        // What ws refused, it has answered.
        if (!isTaken) limiter.end(client)
      }
    },
    upstreamFor: (provider) => pools.get(provider) ?? pools.get(getAddress(provider)),
    hasTunnel: (provider) => (pools.get(getAddress(provider))?.sockets.size ?? 0) > 0,
    connected: () =>
      [...pools.values()]
        .flatMap(({ sockets }) => [...sockets])
        .map((tunnel) => ({ ...describe(tunnel), rttMs: tunnel.mux.rttMs })),
    async recheck(provider, signal) {
      for (const tunnel of pools.get(getAddress(provider))?.allSockets ?? []) {
        const now = await resolveProvider(tunnel.name, signal)
        if (!now || !isAddressEqual(now.address, tunnel.provider))
          tunnel.close(closeCodes.refused, 'tunnel_refused')
      }
    },
    async drain(signal) {
      isLeaving = true
      for (const tunnel of allSockets()) tunnel.mux.goaway()
      const idle = new Promise<void>((resolve) => {
        onIdle = () => {
          if (inFlight() === 0) resolve()
        }
      })
      onIdle()
      await raceSignal(idle, signal)
    },
    async [Symbol.asyncDispose]() {
      isLeaving = true
      stop.abort(gatewayLeaves())
      for (const pool of pools.values()) pool.close()
      for (const webSocket of webSockets) closeNow(webSocket, closeCodes.leaving, 'leaving')
      await Promise.all(running)
      if (webSockets.size > 0) await allClosed.promise
      server.close()
    },
  }
}

function describe({ tunnelId, provider, name, mux, connectedAtMs }: TunnelSocket) {
  return { tunnelId, provider, name, streams: mux.streams, connectedAtMs }
}
