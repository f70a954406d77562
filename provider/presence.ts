import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { raceSignal } from '../protocol/base/signal.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { RequestListener } from '../protocol/http/listener.ts'
import type { Tunnel, TunnelOptions, TunnelStatus } from '../tunnel-client/connect-tunnel.ts'
import { connectTunnels } from '../tunnel-client/connect-tunnels.ts'

/** Where callers find the provider: what the chain says, and the tunnel behind it. */
export interface Presence extends AsyncDisposable {
  /** What the Resolver says. */
  readonly server: string
  tunnelStatus(): TunnelStatus | undefined
  /** Makes the chain say what is true now. @returns the labels of the transactions that it took */
  publish(signal: AbortSignal): Promise<readonly string[]>
  /**
   * Lets callers come another way. The new way stands before the chain names it, and the old one ends after that, with
   * the calls that are on it.
   *
   * @throws ProtocolError `config_invalid` for an address where nobody listens, `tunnel_refused`, and as `register`
   */
  moveTo(server: string, signal: AbortSignal): Promise<readonly string[]>
}

export interface PresenceDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  readonly serve: RequestListener
  /** Makes the chain say that the provider is at `server`. */
  readonly register: (server: string, signal: AbortSignal) => Promise<readonly string[]>
}

export interface PresenceOptions {
  readonly server: string
  /** Whether a socket of this machine takes calls, so that the server may be an address. */
  readonly isListening: boolean
  readonly tunnel: Omit<TunnelOptions, 'gatewayUrl'>
}

/** Whether a `server` record is that of a gateway's tunnel. */
export const isTunnelUrl = (server: string): boolean => /^wss?:/.test(server)

/** Nobody is told of the provider before `publish`, which opens its tunnel, too. */
export function createPresence(deps: PresenceDeps, options: PresenceOptions): Presence {
  const { clock, random, log, serve, register } = deps
  let { server } = options
  let tunnel: Tunnel | undefined

  async function open(gatewayUrl: string, signal: AbortSignal): Promise<Tunnel> {
    await using opening = new AsyncDisposableStack()
    const opened = opening.use(
      connectTunnels(
        { clock, random, log },
        { ...options.tunnel, gatewayUrl },
        serve,
        new AbortController().signal,
      ),
    )
    await raceSignal(opened.connected, signal)
    opening.move()
    return opened
  }

  return {
    get server() {
      return server
    },
    tunnelStatus: () => tunnel?.status(),
    async publish(signal) {
      const done = await register(server, signal)
      if (isTunnelUrl(server)) tunnel ??= await open(server, signal)
      return done
    },
    async moveTo(next, signal) {
      if (next === server) return register(server, signal)
      if (!isTunnelUrl(next) && !options.isListening) throw notListening(next)
      await using leaving = new AsyncDisposableStack()
      const opened = isTunnelUrl(next) ? leaving.use(await open(next, signal)) : undefined
      const done = await register(next, signal)
      leaving.move()
      const last = tunnel
      server = next
      tunnel = opened
      await last?.[Symbol.asyncDispose]()
      return done
    },
    [Symbol.asyncDispose]: async () => tunnel?.[Symbol.asyncDispose](),
  }
}

function notListening(server: string): ProtocolError {
  return new ProtocolError('config_invalid', `Nobody listens at ${server}: this provider opens no port.`, {
    hint: 'Stop it, and start it with --port <port> --public-url <url>.',
  })
}
