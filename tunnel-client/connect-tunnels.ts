import type { RequestListener } from '../protocol/http/listener.ts'
import { limits } from '../protocol/limits.ts'
import { chooseGateways } from './choose-gateways.ts'
import {
  connectTunnel,
  type Tunnel,
  type TunnelDeps,
  type TunnelOptions,
  type TunnelState,
  type TunnelStatus,
} from './connect-tunnel.ts'
import { loopbackLookup } from './loopback-lookup.ts'
import { readGateways } from './read-gateways.ts'

/**
 * Makes a local request handler reachable through a gateway and through every other one that it lists, so that each serves
 * by itself and losing one loses no more than what it was doing. New ones are found, and old ones left, within half a minute.
 *
 * The gateway of `options` decides what is refused; the state is that of the best connection.
 *
 * @param signal - Aborts everything at once; dispose instead to finish requests in flight.
 */
export function connectTunnels(
  deps: TunnelDeps,
  options: TunnelOptions,
  handler: RequestListener,
  signal: AbortSignal,
): Tunnel {
  const { clock, lookup = loopbackLookup, proxyEnv = process.env } = deps
  const first = new URL(options.gatewayUrl)
  const log = deps.log.with({ part: 'gateways' })
  const tunnels = new Map<string, Tunnel>()
  const leaving = new Set<Promise<void>>()
  const stop = new AbortController()
  /** Ends the wait that there is, and is replaced. */
  let woken = new AbortController()

  const statusNow = (): TunnelStatus => mergeStatus([...tunnels.values()].map((tunnel) => tunnel.status()))
  let told: TunnelState = 'connecting'
  const tell = (status: TunnelStatus): void => {
    if (status.state === told) return
    told = status.state
    deps.onState?.(status)
  }

  const open = (gatewayUrl: string): Tunnel => {
    const isFirst = gatewayUrl === first.href
    const tunnel = connectTunnel(
      {
        ...deps,
        onState(status) {
          if (status.state === 'reconnecting') woken.abort()
          // It is called while the tunnel is being made, too.
          if (!tunnels.has(gatewayUrl)) tell(status)
          else tell(statusNow())
        },
        // Of the others only their loss is worth words, and the log has those.
        ...(deps.onFailure && { onFailure: isFirst ? deps.onFailure : () => undefined }),
      },
      { ...options, gatewayUrl },
      handler,
      signal,
    )
    tunnels.set(gatewayUrl, tunnel)
    return tunnel
  }

  const leave = (gatewayUrl: string, tunnel: Tunnel): void => {
    tunnels.delete(gatewayUrl)
    const left = Promise.resolve(tunnel[Symbol.asyncDispose]())
    leaving.add(left)
    left.finally(() => leaving.delete(left))
  }

  /** Takes the list of the first gateway that gives one. */
  const look = async (): Promise<void> => {
    for (const [gatewayUrl, { state }] of [...tunnels]) {
      if (state !== 'connected') continue
      try {
        const listed = await readGateways({ lookup, proxyEnv }, new URL(gatewayUrl), stop.signal)
        if (!stop.signal.aborted) follow(chooseGateways(first, listed))
        return
      } catch (error) {
        log.debug('gateways_unread', { gateway: gatewayUrl, error: String(error) })
      }
    }
  }

  const follow = (wanted: readonly string[]): void => {
    for (const [gatewayUrl, tunnel] of tunnels) if (!wanted.includes(gatewayUrl)) leave(gatewayUrl, tunnel)
    for (const gatewayUrl of wanted) if (!tunnels.has(gatewayUrl)) open(gatewayUrl)
  }

  const main = open(first.href)
  const following = (async () => {
    await main.connected.catch(() => undefined)
    let delayMs: number = limits.gatewaysLookIntervalMs
    while (!stop.signal.aborted) {
      await look()
      // Who has lost one looks for another at once, and again while the others find out.
      const isWhole = [...tunnels.values()].every(({ state }) => state === 'connected')
      delayMs = isWhole
        ? limits.gatewaysLookIntervalMs
        : Math.min(1.25 * delayMs, limits.gatewaysLookIntervalMs)
      await clock.sleep(delayMs, AbortSignal.any([stop.signal, woken.signal])).catch(() => undefined)
      if (!woken.signal.aborted) continue
      woken = new AbortController()
      delayMs = limits.gatewaysLookIntervalMsMin
    }
  })()
  const end = (reason: string) => stop.abort(new Error(reason))
  // Refused by the first, or aborted: the others end with it.
  const closed = main.closed.finally(async () => {
    end('The tunnel has ended.')
    await following
    for (const [gatewayUrl, tunnel] of tunnels) if (tunnel !== main) leave(gatewayUrl, tunnel)
    await Promise.all(leaving)
  })
  closed.catch(() => undefined)

  return {
    get state() {
      return statusNow().state
    },
    connected: main.connected,
    closed,
    status: statusNow,
    async [Symbol.asyncDispose]() {
      end('The tunnel was closed.')
      await following
      await Promise.all([...tunnels.values()].map((tunnel) => tunnel[Symbol.asyncDispose]()))
      await Promise.all(leaving)
    },
  }
}

const stateOrder: readonly TunnelState[] = ['connected', 'reconnecting', 'connecting', 'refused', 'closed']

/** Several tunnels as one. The first is that of the gateway that the user chose. */
function mergeStatus(all: readonly TunnelStatus[]): TunnelStatus {
  const sum = (pick: (status: TunnelStatus) => number) =>
    all.reduce((total, status) => total + pick(status), 0)
  const since = all.flatMap(({ connectedSinceMs }) => connectedSinceMs ?? [])
  const isRefused = all[0]?.state === 'refused'
  const state = stateOrder.find((one) => all.some((status) => status.state === one)) ?? 'connecting'
  return {
    state: isRefused ? 'refused' : state,
    sockets: all.flatMap(({ sockets }) => sockets),
    connectedSinceMs: since.length === 0 ? undefined : Math.min(...since),
    requests: sum(({ requests }) => requests),
    receivedBytes: sum(({ receivedBytes }) => receivedBytes),
    sentBytes: sum(({ sentBytes }) => sentBytes),
    lastError: all.find(({ lastError }) => lastError !== undefined)?.lastError,
  }
}
