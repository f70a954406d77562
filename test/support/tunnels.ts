import type { IncomingMessage } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import type { Address, LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { ResolveProvider } from '../../gateway/tunnels/admit-tunnel.ts'
import { createTunnelHub, type TunnelHub, type TunnelHubOptions } from '../../gateway/tunnels/tunnel-hub.ts'
import { type Clock, createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog, type TestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { HttpResponse, RequestListener } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { connectTunnel, type Tunnel, type TunnelDeps, type TunnelOptions } from '../../tunnel-client/index.ts'

export const domain = marketDomain({ chainId: 31_337, escrow: '0x00000000000000000000000000000000000e5c70' })

/** A clock that stands still at the present: the other end of a tunnel may use the machine's own. */
export const createPresentClock = () => createTestClock(Date.now())

/** The body of an answer that is a problem document. */
export const readCode = async (answer: Response) => ((await answer.json()) as { code: string }).code

export const newAccount = () => privateKeyToAccount(generatePrivateKey())

/** A gateway that knows nothing but tunnels: every request goes to the one provider. */
export interface TunnelGateway extends AsyncDisposable {
  readonly hub: TunnelHub
  readonly port: number
  readonly url: string
  /** What a tunnel client dials. */
  readonly tunnelUrl: string
  readonly log: TestLog
  /** Raw connections of tunnels, in the order in which they came. */
  readonly tunnelSockets: readonly Socket[]
  /** Takes no more connections; those that are there go on. */
  stopListening(): Promise<void>
}

export interface TunnelGatewayOptions
  extends Partial<Pick<TunnelHubOptions, 'verifyContractSignature' | 'ticketKey' | 'tunnelsMax'>> {
  readonly resolveProvider: ResolveProvider
  /** Whose requests these are. */
  readonly provider: Address
  readonly port?: number
  readonly isShared?: boolean
  readonly clock?: Clock
  /** What providers dial, where that is not the gateway itself. */
  readonly gatewayHost?: string
}

export async function createTunnelGateway(options: TunnelGatewayOptions): Promise<TunnelGateway> {
  const log = createTestLog()
  const tunnelSockets: Socket[] = []
  let hub: TunnelHub | undefined
  const listener = await listen({
    host: '127.0.0.1',
    port: options.port ?? 0,
    isShared: options.isShared ?? false,
    shutdownTimeoutMs: 2_000,
    onRequest: (request, response) => forward(hub, options.provider, request, response),
    onUpgrade(request, socket, head) {
      tunnelSockets.push(request.socket)
      hub?.upgrade(request, socket, head, request.socket.remoteAddress ?? '')
    },
  })
  hub = createTunnelHub({
    ...options,
    clock: options.clock ?? systemClock,
    log,
    domain,
    gatewayHost: options.gatewayHost ?? `127.0.0.1:${listener.port}`,
  })
  const started = hub
  let stopped: Promise<void> | undefined
  const stopListening = () => {
    stopped ??= Promise.resolve(listener[Symbol.asyncDispose]())
    return stopped
  }
  return {
    hub,
    port: listener.port,
    url: `http://127.0.0.1:${listener.port}`,
    tunnelUrl: `ws://127.0.0.1:${listener.port}/_/tunnel`,
    log,
    tunnelSockets,
    stopListening,
    async [Symbol.asyncDispose]() {
      await started[Symbol.asyncDispose]()
      await stopListening()
    },
  }
}

function forward(
  hub: TunnelHub | undefined,
  provider: Address,
  request: IncomingMessage,
  response: HttpResponse,
): void {
  const upstream = hub?.upstreamFor(provider)
  if (!upstream) {
    sendProblem(response, new ProtocolError('provider_offline', 'No tunnel.', { hint: 'Wait.' }))
    return
  }
  const { method = '', url: target = '', rawHeaders, headers } = request
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  const exchange = upstream.send(
    { method, target, rawHeaders, ...(hasBody && { body: request }) },
    {
      onHead: (status, head) => void response.writeHead(status, head),
      onData(chunk) {
        if (!response.write(chunk)) exchange.pause()
      },
      onEnd: () => void response.end(),
      onError: (error) => sendProblem(response, error),
    },
  )
  response.on('drain', () => exchange.resume())
  response.on('close', () => {
    if (!response.writableFinished) exchange.abort()
  })
}

/** A provider at home: a handler behind a tunnel. */
export function openTunnel(
  gateway: { tunnelUrl: string },
  account: LocalAccount,
  handler: RequestListener,
  {
    clock = systemClock,
    log = createTestLog(),
    signal = new AbortController().signal,
    lookup,
    proxyEnv = {},
    onFailure,
    ...options
  }: Partial<TunnelOptions> &
    Pick<TunnelDeps, 'lookup' | 'proxyEnv' | 'onFailure'> & {
      clock?: Clock
      log?: TestLog
      signal?: AbortSignal
    } = {},
): Tunnel {
  const deps = {
    ...{ clock, log, random: () => 0.5, proxyEnv },
    ...(lookup && { lookup }),
    ...(onFailure && { onFailure }),
  }
  return connectTunnel(
    deps,
    { gatewayUrl: gateway.tunnelUrl, name: 'alice', account, domain, ...options },
    handler,
    signal,
  )
}

/** The gateway and a provider with the name `alice`, connected. */
export async function setupTunnel(
  handler: RequestListener,
  options: Partial<TunnelOptions> & { gatewayClock?: Clock; clock?: Clock; signal?: AbortSignal } = {},
) {
  const stack = new AsyncDisposableStack()
  const account = newAccount()
  const gateway = stack.use(
    await createTunnelGateway({
      provider: account.address,
      resolveProvider: async (name) => (name === 'alice' ? { address: account.address, name } : undefined),
      ...(options.gatewayClock && { clock: options.gatewayClock }),
    }),
  )
  const { gatewayClock: _, ...tunnelOptions } = options
  const tunnel = stack.use(openTunnel(gateway, account, handler, tunnelOptions))
  await tunnel.connected
  const sockets = options.sockets ?? 2
  await until(() => gateway.hub.connected().length === sockets)
  return { account, gateway, tunnel, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

/** Waits for something that happens in other turns of the event loop; the test's own time limit bounds it. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve))
}

/** A line between client and gateway that is long, can be cut, or falls silent without a word. */
export interface Relay extends AsyncDisposable {
  readonly host: string
  readonly tunnelUrl: string
  readonly connections: readonly RelayedConnection[]
}

export interface RelayedConnection {
  /** The most bytes that were ever on their way to the gateway. */
  readonly bytesOnTheWayPeak: number
  /** Resets the connection at both ends. */
  cut(): void
  /** Passes nothing on any more, and tells nobody, as a router that has forgotten the connection. */
  freeze(): void
}

/** @param gatewayPort - Asked for with each connection, so that the relay may be there first. */
export async function createRelay(
  gatewayPort: () => number,
  { delayMs = 0 }: { delayMs?: number } = {},
): Promise<Relay> {
  const connections: RelayedConnection[] = []
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const gateway = connect(gatewayPort(), '127.0.0.1')
    for (const socket of [client, gateway]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
    }
    const up = delayBytes(client, gateway, delayMs)
    const down = delayBytes(gateway, client, delayMs)
    connections.push({
      get bytesOnTheWayPeak() {
        return up.peak
      },
      cut() {
        client.resetAndDestroy()
        gateway.resetAndDestroy()
      },
      freeze() {
        up.isFrozen = true
        down.isFrozen = true
      },
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    host: `127.0.0.1:${port}`,
    tunnelUrl: `ws://127.0.0.1:${port}/_/tunnel`,
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function delayBytes(from: Socket, to: Socket, delayMs: number) {
  const line = { peak: 0, isFrozen: false }
  let onTheWay = 0
  const later = (deliver: () => void) => {
    if (delayMs === 0) deliver()
    else setTimeout(() => line.isFrozen || deliver(), delayMs)
  }
  from.on('data', (chunk: Buffer) => {
    if (line.isFrozen) return
    onTheWay += chunk.length
    line.peak = Math.max(line.peak, onTheWay)
    later(() => {
      onTheWay -= chunk.length
      to.write(chunk)
    })
  })
  from.on('close', () => line.isFrozen || later(() => to.destroy()))
  return line
}

/** As `setupTunnel`, with a relay on the way of the provider named `alice`. */
export async function setupFarTunnel(
  handler: RequestListener,
  { delayMs = 0, ...options }: Partial<TunnelOptions> & { delayMs?: number; clock?: Clock } = {},
) {
  await using starting = new AsyncDisposableStack()
  const account = newAccount()
  let port = 0
  const relay = starting.use(await createRelay(() => port, { delayMs }))
  const gateway = starting.use(
    await createTunnelGateway({
      provider: account.address,
      resolveProvider: async (name) => ({ address: account.address, name }),
      gatewayHost: relay.host,
    }),
  )
  port = gateway.port
  const tunnel = starting.use(openTunnel(relay, account, handler, options))
  await tunnel.connected
  const stack = starting.move()
  return { account, gateway, relay, tunnel, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}
