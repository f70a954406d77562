import type { IncomingMessage } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import type { Address, LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { ResolveProvider } from '../../gateway/tunnels/admit-tunnel.ts'
import { createTunnelHub, type TunnelHub, type TunnelHubOptions } from '../../gateway/tunnels/tunnel-hub.ts'
import { type Clock, createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog, type TestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type HttpResponse, listen } from '../../protocol/http/listen.ts'
import type { RequestListener } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { connectTunnel, type Tunnel, type TunnelOptions } from '../../tunnel-client/index.ts'

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
  extends Partial<Pick<TunnelHubOptions, 'verifyContractSignature' | 'ticketKey'>> {
  readonly resolveProvider: ResolveProvider
  /** Whose requests these are. */
  readonly provider: Address
  readonly port?: number
  readonly isShared?: boolean
  readonly clock?: Clock
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
      hub?.upgrade(request, socket, head)
    },
  })
  hub = createTunnelHub({
    ...options,
    clock: options.clock ?? systemClock,
    log,
    domain,
    gatewayHost: `127.0.0.1:${listener.port}`,
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
    ...options
  }: Partial<TunnelOptions> & { clock?: Clock; log?: TestLog; signal?: AbortSignal } = {},
): Tunnel {
  const deps = { clock, log, random: () => 0.5 }
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

/** A line between client and gateway that can be cut without a word, or hold its bytes back. */
export interface Relay extends AsyncDisposable {
  readonly tunnelUrl: string
  readonly connections: readonly { readonly client: Socket; readonly gateway: Socket }[]
  /** Resets the connection at both ends. */
  cut(index: number): void
}

export async function createRelay(port: number): Promise<Relay> {
  const connections: { client: Socket; gateway: Socket }[] = []
  const server = createServer((client) => {
    const gateway = connect(port, '127.0.0.1')
    connections.push({ client, gateway })
    client.pipe(gateway).pipe(client)
    client.on('error', () => gateway.destroy())
    gateway.on('error', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port: relayPort } = server.address() as { port: number }
  return {
    tunnelUrl: `ws://127.0.0.1:${relayPort}/_/tunnel`,
    connections,
    cut(index) {
      const { client, gateway } = connections[index] as { client: Socket; gateway: Socket }
      client.resetAndDestroy()
      gateway.resetAndDestroy()
    },
    async [Symbol.asyncDispose]() {
      for (const { client, gateway } of connections) {
        client.destroy()
        gateway.destroy()
      }
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
