import { once } from 'node:events'
import {
  type ClientRequest,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { connect } from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import { type Address, getAddress, type Hex, hexToBytes, toHex } from 'viem'
import { createGateway, type Gateway, type GatewayDeps, type GatewayOptions } from '../../gateway/gateway.ts'
import { createTestClock, type TestClock } from '../../protocol/base/clock.ts'
import { createTestLog, type TestLog } from '../../protocol/base/log.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { type NameChange, type NameRecord, nameNode, parseName } from '../../protocol/name.ts'

/** A gateway whose chain is a table that the test may change. */
export interface GatewayFront extends AsyncDisposable {
  readonly gateway: Gateway
  readonly clock: TestClock
  readonly log: TestLog
  /** Name → `server` record; a name that is not in it is not registered. */
  readonly records: Map<string, string>
  /** Accounts of providers that have a key; the others are made up of their names. */
  readonly accounts: Map<string, Address>
  /** Names that stand for a deployment, as the chain has them. */
  readonly deployments: Map<string, { readonly contenthash: Hex; readonly providers: string }>
  /** Providers that are reached through a tunnel. */
  readonly tunnels: Map<Address, Upstream>
  /** Providers whose tunnels were to be looked at again. */
  readonly rechecked: readonly Address[]
  /** Readings of names so far. */
  readonly reads: () => number
  /** Lets every reading fail with this until set to undefined. */
  failReads: Error | undefined
  /** Tells the gateway that the records of a name changed. */
  change(name: string): void
  /** Sends a request to a host as which the gateway is called. */
  send(host: string, options?: RequestOptions): ClientRequest
  /** The same, answered and read whole. */
  ask(host: string, options?: RequestOptions & { body?: Buffer | string }): Promise<FrontAnswer>
  /** Sends bytes as they are, and reads until the gateway closes. */
  sendRaw(bytes: string | Buffer): Promise<string>
}

export interface FrontAnswer {
  readonly status: number
  readonly rawHeaders: string[]
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
  /** The code of the problem document, if it is one. */
  readonly code: string | undefined
}

const zero = getAddress(toHex(0, { size: 20 }))

/** The account of a provider with this name, as `openGatewayFront` makes it up. */
export function accountOf(name: string): Address {
  return getAddress(nameNode(parseName(name)).slice(0, 42))
}

export async function openGatewayFront(
  records: Record<string, string> = {},
  options: Partial<GatewayOptions> &
    Partial<
      Pick<
        GatewayDeps,
        | 'lookup'
        | 'lookupTxt'
        | 'keeper'
        | 'fetchSpec'
        | 'random'
        | 'tracer'
        | 'clock'
        | 'seedBlocks'
        | 'reputations'
      >
    > = {},
): Promise<GatewayFront> {
  const { lookup, lookupTxt, clock: ownClock, keeper, fetchSpec, random, tracer, ...others } = options
  const { seedBlocks, reputations, ...gatewayOptions } = others
  const clock = createTestClock()
  const log = createTestLog()
  const table = new Map(Object.entries(records))
  const tunnels = new Map<Address, Upstream>()
  const rechecked: Address[] = []
  const chain = { reads: 0, failure: undefined as Error | undefined }
  let tell: (change: NameChange) => void = () => undefined

  const deployments: GatewayFront['deployments'] = new Map()
  const accounts = new Map<string, Address>()

  const readName = async (name: string): Promise<NameRecord | undefined> => {
    chain.reads++
    if (chain.failure) throw chain.failure
    const facts = {
      name: parseName(name),
      owner: accountOf(name),
      resolver: accountOf(name),
      blockNumber: 1n,
    }
    const deployment = deployments.get(name)
    if (deployment) {
      const contenthash = hexToBytes(deployment.contenthash)
      return { kind: 'deployment', ...facts, contenthash, providers: deployment.providers }
    }
    const server = table.get(name)
    if (server === undefined) return undefined
    return {
      kind: 'provider',
      ...facts,
      address: accounts.get(name) ?? accountOf(name),
      server,
      publicKey: new Uint8Array(),
    }
  }
  const gateway = await createGateway(
    {
      clock: ownClock ?? clock,
      log,
      names: {
        readName,
        watchNames(onChange) {
          tell = onChange
          return { [Symbol.asyncDispose]: async () => undefined }
        },
      },
      openTunnels: () => ({
        upstreamFor: (provider) => tunnels.get(provider),
        hasTunnel: (provider) => tunnels.has(provider),
        connected: () => [...tunnels.keys()].map((provider) => ({ provider })),
        upgrade: (_, socket, __, client) =>
          void socket.end(`HTTP/1.1 101 Taken\r\nx-client: ${client}\r\n\r\n`),
        recheck: async (provider) => void rechecked.push(provider),
        drain: async () => undefined,
        [Symbol.asyncDispose]: async () => undefined,
      }),
      ...(lookup ? { lookup } : {}),
      ...(keeper ? { keeper } : {}),
      ...(lookupTxt ? { lookupTxt } : {}),
      ...(fetchSpec ? { fetchSpec } : {}),
      ...(random ? { random } : {}),
      ...(tracer ? { tracer } : {}),
      ...(seedBlocks ? { seedBlocks } : {}),
      ...(reputations ? { reputations } : {}),
    },
    {
      host: '127.0.0.1',
      port: 0,
      allowPrivate: true,
      shutdownTimeoutMs: 2_000,
      info: { chainId: 31337, escrow: zero, registry: zero, usdc: zero, peers: [], version: '0.0.0' },
      ...gatewayOptions,
    },
  )
  const { host, port } = gateway
  const send = (to: string, { headers, ...rest }: RequestOptions = {}) =>
    httpRequest({ host, port, agent: false, ...rest, headers: { host: to, ...(headers as object) } })

  return {
    gateway,
    clock,
    log,
    records: table,
    deployments,
    accounts,
    tunnels,
    rechecked,
    reads: () => chain.reads,
    get failReads() {
      return chain.failure
    },
    set failReads(failure) {
      chain.failure = failure
    },
    change: (name) => tell({ kind: 'name', node: nameNode(parseName(name)) }),
    send,
    async ask(to, { body, ...rest } = {}) {
      const request = send(to, rest)
      request.end(body)
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      const bytes = await buffer(response)
      const isProblem = response.headers['content-type'] === 'application/problem+json' && bytes.length > 0
      return {
        status: response.statusCode ?? 0,
        rawHeaders: response.rawHeaders,
        headers: response.headers,
        body: bytes,
        code: isProblem ? JSON.parse(bytes.toString()).code : undefined,
      }
    },
    async sendRaw(bytes) {
      const socket = connect(port, host)
      socket.on('error', () => undefined)
      socket.write(bytes)
      return text(socket)
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  }
}
