import type { LookupFunction } from 'node:net'
import type { Address, LocalAccount, TypedDataDomain } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { type ErrorCode, type ProtocolError, toProtocolError } from '../protocol/errors.ts'
import type { LostAttempt } from '../protocol/frames/head.ts'
import type { RequestListener } from '../protocol/http/listener.ts'
import { limits } from '../protocol/limits.ts'
import { createSessionKey } from '../protocol/tunnel-ticket.ts'
import { dialTunnel } from './dial-tunnel.ts'
import type { ProxyEnv } from './find-proxy.ts'
import { loopbackLookup } from './loopback-lookup.ts'
import { hasStood, retryDelayMs } from './retry-delay.ts'
import { createTakenStreams } from './taken-streams.ts'
import { startTunnelSession, type TunnelSession } from './tunnel-session.ts'

export interface TunnelDeps {
  readonly clock: Clock
  /** Uniform in [0, 1), for jitter. */
  readonly random: () => number
  readonly log: Log
  /** How hosts are resolved; `*.localhost` is this machine unless given. */
  readonly lookup?: LookupFunction
  /** Where `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are looked for; the process's environment unless given. */
  readonly proxyEnv?: ProxyEnv
  /** Hears of every dial that failed and is tried again. */
  readonly onFailure?: (error: ProtocolError) => void
  /** Hears of every new state, and of its reason where it is one of trouble. */
  readonly onState?: (status: TunnelStatus) => void
}

export interface TunnelOptions {
  /** `ws://` or `wss://`, with the path: `ws://localhost:8080/_/tunnel`. */
  readonly gatewayUrl: string
  readonly name: string
  readonly account: LocalAccount
  /** The address that the Resolver names, where it is a smart account and not `account` itself. */
  readonly provider?: Address
  /** Connections at the same time, 1 to 8; 2 unless given. */
  readonly sockets?: number
  /** Of everything that this network signs: `marketDomain`. */
  readonly domain: TypedDataDomain
  /** Which of this machine's addresses to dial from; the system's choice unless given. */
  readonly localAddress?: string
}

/**
 * - `connecting`: not yet connected; `reconnecting`: not any more; both go on by themselves.
 * - `connected`: at least one connection serves.
 * - `refused`: the gateway does not take this account; nothing more is tried.
 * - `closed`: disposed or aborted.
 */
export type TunnelState = 'connecting' | 'connected' | 'reconnecting' | 'refused' | 'closed'

export interface TunnelStatus {
  readonly state: TunnelState
  readonly sockets: readonly {
    readonly tunnelId: string
    /** Requests being answered. */
    readonly streams: number
    readonly rttMs: number | undefined
    /** Wall time. */
    readonly connectedAtMs: number
  }[]
  /** Since when at least one connection stands without a gap. Wall time. */
  readonly connectedSinceMs: number | undefined
  /** Requests that were taken, by lost connections, too. */
  readonly requests: number
  /** Bytes of the connections, with what it takes to carry them. */
  readonly receivedBytes: number
  readonly sentBytes: number
  /** What the latest failure said. */
  readonly lastError: ProtocolError | undefined
}

/** A tunnel that stays connected. Disposal finishes what is in flight, for 30 s at most. */
export interface Tunnel extends AsyncDisposable {
  readonly state: TunnelState
  /** Resolves with the first connection; rejects if there will be none. */
  readonly connected: Promise<void>
  /** Resolves after disposal or abortion; rejects where the gateway refuses for good. */
  readonly closed: Promise<void>
  status(): TunnelStatus
}

/** What no other try will change. */
const finalCodes: readonly ErrorCode[] = ['tunnel_refused', 'bad_request', 'config_invalid']

/**
 * Makes a local request handler reachable through a gateway, and keeps it so.
 *
 * @param signal - Aborts everything at once; dispose instead to finish requests in flight.
 */
export function connectTunnel(
  deps: TunnelDeps,
  options: TunnelOptions,
  handler: RequestListener,
  signal: AbortSignal,
): Tunnel {
  const { clock, random, lookup = loopbackLookup, proxyEnv = process.env } = deps
  const { name, account, domain, sockets = limits.tunnelSocketsDefault } = options
  const gatewayUrl = new URL(options.gatewayUrl)
  const log = deps.log.with({ gateway: gatewayUrl.host, name })
  const sessionKey = createSessionKey()
  const taken = createTakenStreams()
  const sessions = new Set<TunnelSession>()
  /** For large streams of the others; the gateway asks for them, and closes them. */
  const lanes = new Set<TunnelSession>()
  const allSessions = () => [...sessions, ...lanes]
  let isOpeningLane = false
  const connected = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<void>()
  const stop = new AbortController()
  /** Ends the waits that there are, and is replaced. */
  let woken = new AbortController()
  let ticket: string | undefined
  let lastError: ProtocolError | undefined
  let wasConnected = false
  let connectedSinceMs: number | undefined
  let told: TunnelState = 'connecting'
  /** Of connections that have gone. */
  const gone = { requests: 0, receivedBytes: 0, sentBytes: 0 }
  let end: 'refused' | 'closed' | undefined

  // Whoever does not wait for these still finds the reason in the log.
  connected.promise.catch(() => undefined)
  closed.promise.catch(() => undefined)

  const stateNow = (): TunnelState => {
    if (end) return end
    if (sessions.size > 0) return 'connected'
    return wasConnected ? 'reconnecting' : 'connecting'
  }

  const statusNow = (): TunnelStatus => {
    const all = [gone, ...allSessions()]
    return {
      state: stateNow(),
      sockets: [...sessions].map(({ tunnelId, streams, rttMs, connectedAtMs }) => ({
        tunnelId,
        streams,
        rttMs,
        connectedAtMs,
      })),
      connectedSinceMs,
      requests: all.reduce((sum, { requests }) => sum + requests, 0),
      receivedBytes: all.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0),
      sentBytes: all.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
      lastError,
    }
  }

  const tellState = () => {
    const state = stateNow()
    // Closed is only what has nothing open any more.
    if (state === told || (state === 'closed' && sessions.size > 0)) return
    told = state
    connectedSinceMs = state === 'connected' ? clock.nowMs() : undefined
    deps.onState?.(statusNow())
  }

  const findStream = ({ tunnelId, streamId }: LostAttempt) =>
    allSessions()
      .find((session) => session.tunnelId === tunnelId)
      ?.find(streamId)

  /** Opens a connection for large streams; one that fails is asked for again. */
  const openLane = async (): Promise<void> => {
    if (isOpeningLane || lanes.size >= limits.tunnelLanesMax || end) return
    isOpeningLane = true
    try {
      await dial('lanes')
    } catch (error) {
      log.warn('tunnel_lane_failed', { error: String(error) })
    } finally {
      isOpeningLane = false
    }
  }

  const dial = async (purpose: 'requests' | 'lanes'): Promise<TunnelSession> => {
    const provider = options.provider ?? account.address
    const credentials = { name, account, provider, domain, sessionKey, ticket, purpose }
    const dialed = await dialTunnel(
      { clock, lookup, proxyEnv },
      { gatewayUrl, credentials, localAddress: options.localAddress },
      stop.signal,
    )
    ticket = dialed.ticket
    const onMore = () => void openLane()
    const session = startTunnelSession({ clock, log, handler, taken, findStream, onMore }, dialed)
    const group = purpose === 'lanes' ? lanes : sessions
    group.add(session)
    if (end) session.cut()
    session.closed.then(() => {
      group.delete(session)
      for (const count of ['requests', 'receivedBytes', 'sentBytes'] as const) gone[count] += session[count]
      log.info('tunnel_lost', { tunnelId: session.tunnelId })
      tellState()
    })
    log.info('tunnel_connected', { tunnelId: session.tunnelId, purpose })
    if (purpose === 'lanes') return session
    wasConnected = true
    connected.resolve()
    tellState()
    return session
  }

  /** Keeps one connection open. The only place that tries again. */
  const keepConnected = async (): Promise<void> => {
    let failures = 0
    let waitedMs = 0
    let failingSinceMs: number | undefined
    while (!stop.signal.aborted) {
      let code: ErrorCode = 'tunnel_lost'
      try {
        const session = await dial('requests')
        const startMs = clock.monotonicMs()
        failingSinceMs = undefined
        await session.ending
        if (hasStood({ upMs: clock.monotonicMs() - startMs, waitedMs })) failures = 0
      } catch (thrown) {
        if (stop.signal.aborted) return
        lastError = toProtocolError(thrown)
        code = lastError.code
        if (finalCodes.includes(code)) {
          refuse(lastError)
          return
        }
        deps.onFailure?.(lastError)
        log.warn('tunnel_failed', { failures, code, error: lastError.message })
      }
      failingSinceMs ??= clock.monotonicMs()
      const failingMs = clock.monotonicMs() - failingSinceMs
      waitedMs = retryDelayMs({ failures, failingMs, code }, random)
      failures++
      const waiting = AbortSignal.any([stop.signal, woken.signal])
      await clock.sleep(waitedMs, waiting).catch(() => undefined)
    }
  }

  /** After a sleep connections look open that the other end has given up, and waits are far from over. */
  const onWake = (sleptMs: number) => {
    log.info('machine_woke', { sleptMs })
    for (const session of allSessions()) session.suspect()
    woken.abort()
    woken = new AbortController()
  }

  const watch = async (): Promise<void> => {
    for (let beforeMs = clock.nowMs(); ; beforeMs = clock.nowMs()) {
      await clock.sleep(limits.tunnelTickMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) return
      const sleptMs = clock.nowMs() - beforeMs - limits.tunnelTickMs
      if (sleptMs >= limits.tunnelSleptMsMin) onWake(sleptMs)
      for (const session of allSessions()) session.check()
    }
  }

  const refuse = (error: ProtocolError) => {
    if (end) return
    end = 'refused'
    log.error('tunnel_refused', { code: error.code, error: error.message, hint: error.hint })
    stop.abort(error)
    for (const session of allSessions()) session.cut()
    connected.reject(error)
    closed.reject(error)
    tellState()
  }

  const abort = () => {
    if (end) return
    end = 'closed'
    stop.abort(signal.reason)
    for (const session of allSessions()) session.cut()
    connected.reject(signal.reason)
    closed.resolve()
    tellState()
  }
  signal.addEventListener('abort', abort, { once: true })
  const lines = [watch(), ...Array.from({ length: sockets }, keepConnected)]
  if (signal.aborted) abort()

  return {
    get state() {
      return stateNow()
    },
    connected: connected.promise,
    closed: closed.promise,
    status: statusNow,
    async [Symbol.asyncDispose]() {
      signal.removeEventListener('abort', abort)
      end ??= 'closed'
      const reason = new Error('The tunnel was closed.')
      stop.abort(reason)
      connected.reject(reason)
      await Promise.all([...sessions].map((session) => session.leave()))
      // What they carried has ended with the requests.
      await Promise.all([...lanes].map((session) => session.leave()))
      await Promise.all(lines)
      closed.resolve()
      tellState()
    },
  }
}
