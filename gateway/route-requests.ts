import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { createRecent } from '../protocol/base/recent.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { HttpResponse, IncomingRequest, OutgoingResponse } from '../protocol/http/listener.ts'
import { sendProblem } from '../protocol/http/problem-response.ts'
import { openSwitch } from '../protocol/http/switch.ts'
import { limits } from '../protocol/limits.ts'
import { type Caller, type FrontGuard, refusalHeaders } from './limits/front-guard.ts'
import { domainHost, type HostMeaning, resolveHost } from './names/resolve-host.ts'
import type { Observer, RequestRecord } from './observe/observer.ts'
import type { DataPlane, ProviderRequest } from './proxy/data-plane.ts'
import { type Destination, formatDestination } from './proxy/find-way.ts'
import { type CallerRequest, type RequestShape, readRequestShape } from './proxy/request-shape.ts'

/** Where providers connect by themselves. */
export interface TunnelDoor {
  /**
   * Takes a WebSocket handshake at `/_/tunnel`, and owns the socket from then on.
   *
   * @param client - Whose it is: not the socket's address where a proxy that is trusted stands before the gateway.
   */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, client: string): void
}

export interface GatewayHandlers {
  onRequest(request: IncomingMessage, response: HttpResponse, expectsContinue: boolean): void
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

export interface HandlerDeps {
  /** The gateway's own host, without port. */
  readonly host: string
  /** The same of this one among several that share it. */
  readonly nodeHost: string
  /** Where deployments are called, for those who called nobody. */
  readonly exampleUrl: string
  readonly dataPlane: DataPlane
  readonly serveControl: (request: IncomingRequest, response: OutgoingResponse) => void
  readonly tunnels: TunnelDoor
  readonly guard: Pick<FrontGuard, 'admit'>
  readonly observer: Observer
  readonly signal: AbortSignal
}

/** Parts the requests by their host: calls go to the data plane, which knows no framework, the rest to the pages. */
export function createHandlers(deps: HandlerDeps): GatewayHandlers {
  /** Whoever calls often writes the same host each time. What means nothing is not kept. */
  const meanings = createRecent<string, Meaning>(limits.hostsCachedMax)
  const meaningOf = (host: string): Meaning => {
    const known = meanings.get(host)
    if (known) return known
    // Of several gateways below one domain, this one's own name is nobody else's.
    const isOwn = domainHost(host) === deps.nodeHost
    const meaning: Meaning = isOwn
      ? { kind: 'control' }
      : requireMeaning(resolveHost(host, deps.host), host, deps.exampleUrl)
    meanings.set(host, meaning)
    return meaning
  }
  const read = (request: CallerRequest): { shape: RequestShape; meaning: Meaning } => {
    const shape = readRequestShape(request)
    return { shape, meaning: meaningOf(shape.host) }
  }
  const admit = (request: IncomingRequest, record: RequestRecord): Caller => {
    const caller = deps.guard.admit(request)
    record.client = caller.address
    record.leave = caller.leave
    return caller
  }
  const callProvider = (call: ProviderRequest): void => {
    call.record.target = 'provider'
    call.record.provider = formatDestination(call.destination)
    deps.dataPlane(call, deps.signal)
  }
  const isTunnelDoor = (request: IncomingMessage): boolean => {
    try {
      const { shape, meaning } = read(request)
      return meaning.kind === 'control' && shape.target === '/_/tunnel'
    } catch {
      return false
    }
  }
  /** @param refusal - Why it is not served; what else is wrong with it is found out here. */
  const serveSwitch = ({ request, response }: ReturnType<typeof openSwitch>, refusal?: unknown): void => {
    const record = deps.observer.begin(request, response)
    try {
      if (refusal !== undefined) throw refusal
      const caller = admit(request, record)
      const { shape, meaning } = read(request as CallerRequest)
      record.path = pathOf(shape.target)
      if (meaning.kind !== 'control') {
        callProvider({
          request,
          response,
          record,
          caller,
          shape,
          destination: meaning,
          expectsContinue: false,
        })
      } else {
        record.target = 'gateway'
        throw webSocketUnsupported()
      }
    } catch (error) {
      record.noteProblem(error)
      sendProblem(response, error, refusalHeaders(error))
    }
  }
  return {
    onRequest(request, response, expectsContinue) {
      const record = deps.observer.begin(request, response)
      let caller: Caller | undefined
      try {
        caller = admit(request, record)
        const { shape, meaning } = read(request)
        record.path = pathOf(shape.target)
        if (meaning.kind !== 'control') {
          callProvider({ request, response, record, caller, shape, destination: meaning, expectsContinue })
        } else {
          record.target = 'gateway'
          if (expectsContinue) response.writeContinue()
          request.url = shape.target
          deps.serveControl(request, response)
        }
      } catch (error) {
        record.noteProblem(error)
        sendProblem(response, error, caller?.headers() ?? refusalHeaders(error))
      }
    },
    onUpgrade(request, socket, head) {
      if (!isTunnelDoor(request)) {
        serveSwitch(openSwitch(request, socket, head))
        return
      }
      let caller: Caller
      try {
        caller = deps.guard.admit(request)
      } catch (error) {
        serveSwitch(openSwitch(request, socket, head), error)
        return
      }
      // The tunnels have bounds of their own, and stay for days.
      caller.leave()
      deps.tunnels.upgrade(request, socket, head, caller.address)
    },
  }
}

/** The gateway itself, or calls. */
type Meaning = Destination | { readonly kind: 'control' }

/** @throws `name_malformed`, `host_unknown` */
function requireMeaning(meaning: HostMeaning, header: string, exampleUrl: string): Meaning {
  const shown = header.slice(0, 100)
  const hint = `Call ${exampleUrl}.`
  if (meaning.kind === 'malformed') {
    throw new ProtocolError('name_malformed', `"${shown}" is not the host of a provider.`, { hint })
  }
  if (meaning.kind === 'unknown') {
    throw new ProtocolError('host_unknown', `This gateway does not answer for ${shown}.`, { hint })
  }
  return meaning
}

function webSocketUnsupported(): ProtocolError {
  return new ProtocolError('websocket_unsupported', 'The gateway itself has no page for WebSockets.', {
    hint: 'Call ws://<provider>.<gateway>/<cid>.',
  })
}

/** Queries hold what no log should: tokens, names, searches. */
function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}
