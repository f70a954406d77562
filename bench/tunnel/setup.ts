import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Target } from '../load.ts'
import { type StartedProcess, startProcess } from '../processes.ts'
import type { ClientOrder } from './client-process.ts'

interface PartOptions {
  readonly flags?: readonly string[]
  readonly cores?: string | undefined
}

/** A process of this folder. */
export function startPart(
  file: string,
  args: readonly string[],
  signal: AbortSignal,
  { flags = [], cores }: PartOptions = {},
): Promise<StartedProcess> {
  const script = join(import.meta.dirname, file)
  return startProcess({ command: process.execPath, args: [...flags, script, ...args], cores }, signal)
}

export interface Origin extends StartedProcess {
  readonly port: number
}

export async function startOrigin(signal: AbortSignal): Promise<Origin> {
  const started = await startPart('origin-process.ts', [], signal)
  return { ...started, port: Number(started.facts['port']) }
}

export const originTarget = ({ pid, port }: Origin): Target => ({
  name: 'no tunnel',
  url: `http://127.0.0.1:${port}/`,
  processes: [{ role: 'web server', pid }],
})

/** A line of which both ends are known before there is anything at the other one. */
export interface Relay extends StartedProcess {
  readonly port: number
  leadTo(port: number): Promise<void>
}

export async function startRelay({ rttMs }: { rttMs: number }, signal: AbortSignal): Promise<Relay> {
  const started = await startPart('relay-process.ts', [String(rttMs)], signal)
  return {
    ...started,
    port: Number(started.facts['port']),
    async leadTo(port) {
      const socket = connect(Number(started.facts['controlPort']), '127.0.0.1')
      socket.write(String(port))
      await once(socket, 'data', { signal })
      socket.destroy()
    },
  }
}

/** A way to a web server through somebody's tunnel. */
export interface TunnelWay extends AsyncDisposable {
  readonly target: Target
}

export interface OwnWay extends TunnelWay {
  readonly gateway: StartedProcess
  readonly client: StartedProcess
  readonly names: readonly string[]
}

export interface WayOptions {
  readonly origin: Origin
  /** Between client and gateway. */
  readonly relay?: Relay
  readonly tunnels?: number
  readonly sockets?: number
  /** NATS server of the gateway's cluster. */
  readonly natsUrl?: string
  /** For the gateway, or the server side of a peer. */
  readonly cores?: string | undefined
}

/** As gateways run: see `operate/khachapuri-gateway.service`. */
const nodeFlags = ['--expose-gc', '--max-semi-space-size=8']

interface GatewayPartOptions extends Pick<WayOptions, 'natsUrl' | 'cores'> {
  readonly dialledAt?: string
}

/** A gateway of ours. */
export const startGatewayPart = (
  { dialledAt = '', natsUrl = '', cores }: GatewayPartOptions,
  signal: AbortSignal,
): Promise<StartedProcess> =>
  startPart('gateway-process.ts', [dialledAt, natsUrl], signal, { flags: nodeFlags, cores })

/** Ours: a gateway and a tunnel client, each a process. */
export async function startOwnWay(
  { origin, relay, tunnels = 1, sockets = 2, natsUrl, cores }: WayOptions,
  signal: AbortSignal,
): Promise<OwnWay> {
  await using starting = new AsyncDisposableStack()
  const dialledAt = relay && String(relay.port)
  const gateway = starting.use(
    await startGatewayPart({ ...(dialledAt && { dialledAt }), ...(natsUrl && { natsUrl }), cores }, signal),
  )
  const port = Number(gateway.facts['port'])
  await relay?.leadTo(port)
  const order: ClientOrder = {
    tunnelUrl: `ws://${relay ? `127.0.0.1:${relay.port}` : `localhost:${port}`}/_/tunnel`,
    service: `http://127.0.0.1:${origin.port}`,
    tunnels,
    sockets,
  }
  const client = starting.use(
    await startPart('client-process.ts', [JSON.stringify(order)], signal, { flags: nodeFlags }),
  )
  const names = client.facts['names'] as readonly string[]
  const parts = starting.move()
  return {
    gateway,
    client,
    names,
    target: {
      name: 'khachapuri',
      url: `http://127.0.0.1:${port}/`,
      host: `${names[0]}.${gateway.facts['domain']}`,
      processes: [
        { role: 'gateway', pid: gateway.pid },
        { role: 'client', pid: client.pid },
        { role: 'web server', pid: origin.pid },
      ],
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Waits for a way that stands a moment after its processes do. */
export async function untilServed({ url, host }: Target, signal: AbortSignal): Promise<void> {
  for (;;) {
    const request = httpRequest(url, { agent: false, signal, ...(host && { headers: { host } }) }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.resume()
    if (response.statusCode === 200) return
    await sleep(50, undefined, { signal })
  }
}
