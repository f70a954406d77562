import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Egress } from '../../protocol/egress.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { HttpResponse } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createAllowList } from './allow-list.ts'
import { createEgressBudget, type EgressAllowance, type EgressBudget } from './budget.ts'
import { createConnections, type EgressNetwork } from './connections.ts'
import { parseDestination, parsePlace } from './destination.ts'
import { forwardRequest } from './forward-request.ts'
import { forwardTunnel } from './forward-tunnel.ts'
import { createOriginPools } from './origin-pools.ts'
import { busy, exhausted, notAllowed, refuseRequest, refuseSocket } from './refusals.ts'

export interface EgressProxyOptions {
  /** Where it listens: who connects there is this one program. A path for a Unix socket, or what listens already. */
  readonly at: { readonly socketPath: string } | { readonly listener: Pick<Server, 'close'> }
  readonly egress: Egress
  readonly perCall?: EgressAllowance
  readonly requestsInFlightMax?: number
  readonly connectionsMax?: number
  readonly firstByteTimeoutMs?: number
  readonly idleTimeoutMs?: number
  readonly exchangeMsMax?: number
}

/** The one way out of a program's sandbox. Disposal ends every request and every connection. */
export interface EgressProxy extends AsyncDisposable {
  readonly budget: EgressBudget
  /** Of this program, to servers. */
  readonly connections: number
}

/**
 * Listens as a proxy for one program: absolute-form requests, where `https` begins here, and `CONNECT`. What may be reached
 * is asked twice: by name here, by address when it is dialled.
 */
export async function openEgressProxy(
  { network }: { network: EgressNetwork },
  options: EgressProxyOptions,
): Promise<EgressProxy> {
  const {
    requestsInFlightMax = limits.egressRequestsInFlightMax,
    connectionsMax = limits.egressConnectionsMax,
    firstByteTimeoutMs = limits.egressFirstByteTimeoutMs,
    idleTimeoutMs = limits.egressIdleTimeoutMs,
    exchangeMsMax = limits.egressExchangeMsMax,
  } = options
  const allowList = createAllowList(options.egress)
  const budget = createEgressBudget(options.perCall)
  const connections = createConnections({ network, budget }, { connectionsMax })
  const pools = createOriginPools(connections, {
    originsMax: limits.egressOriginsKeptMax,
    requestsMax: requestsInFlightMax,
    firstByteTimeoutMs,
    idleTimeoutMs,
  })
  const tunnels = new Set<Duplex>()
  let requestsInFlight = 0

  /** Takes a place until `close`. @throws ProtocolError `egress_busy`, `egress_exhausted` */
  function enter(place: Duplex | HttpResponse): void {
    if (requestsInFlight >= requestsInFlightMax)
      throw busy(`The program has ${requestsInFlight} requests under way.`)
    const lacking = budget.takeRequest()
    if (lacking) throw exhausted(lacking)
    requestsInFlight++
    place.once('close', () => requestsInFlight--)
  }

  function onRequest(request: IncomingMessage, response: HttpResponse): void {
    try {
      const destination = parseDestination(request.url ?? '')
      if (request.headers.upgrade !== undefined) throw noUpgrade()
      if (!allowList.mayRequest(destination)) throw notAllowed(destination.origin)
      enter(response)
      forwardRequest(request, response, destination, {
        upstream: pools.poolOf(destination),
        budget,
        exchangeMsMax,
      })
    } catch (error) {
      refuseRequest(response, error)
    }
  }

  function onConnect(request: IncomingMessage, program: Duplex, head: Buffer): void {
    program.on('error', () => program.destroy())
    try {
      const place = parsePlace(request.url ?? '')
      const where = `${place.hostname}:${place.port}`
      if (!allowList.mayConnect(place)) throw notAllowed(where)
      enter(program)
      tunnels.add(program)
      if (connections.isFull) pools.closeIdle()
      const server = connections.open({ ...place, isSecure: false })
      forwardTunnel(program, head, server, {
        budget,
        where,
        idleTimeoutMs,
        exchangeMsMax,
        onClose: () => tunnels.delete(program),
      })
    } catch (error) {
      refuseSocket(program, error)
    }
  }

  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headerTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: limits.listenerKeepAliveMs,
    // workerd sends none in this style, and a program's own would not be believed.
    requireHostHeader: false,
    insecureHTTPParser: false,
    shouldUpgradeCallback: () => false,
  })
  server.maxConnections = 8 * requestsInFlightMax
  server.on('request', onRequest as (request: IncomingMessage, response: unknown) => void)
  // An expectation is between the program and this proxy, and asks for nothing that is not done anyway.
  server.on('checkExpectation', onRequest as (request: IncomingMessage, response: unknown) => void)
  server.on('connect', onConnect)
  server.on('clientError', (_error, socket) => {
    if (socket.writable) refuseSocket(socket, malformed())
    else socket.destroy()
  })
  // The program has a user of its own, and its folder is closed to all others.
  if ('listener' in options.at) server.listen(options.at.listener)
  else server.listen({ path: options.at.socketPath, readableAll: true, writableAll: true })
  await once(server, 'listening')

  return {
    budget,
    get connections() {
      return connections.count
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      for (const program of tunnels) program.destroy()
      pools[Symbol.dispose]()
      connections[Symbol.dispose]()
      await closed
    },
  }
}

function noUpgrade(): ProtocolError {
  return new ProtocolError('websocket_unsupported', 'Programs cannot open WebSockets to servers.', {
    hint: 'Use HTTP, or connect() and speak the protocol yourself.',
  })
}

function malformed(): ProtocolError {
  return new ProtocolError('bad_request', 'This is not HTTP/1.1.', { hint: 'Send well-formed HTTP.' })
}
