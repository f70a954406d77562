import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { ProtocolError } from '../protocol/errors.ts'
import type { HttpResponse } from '../protocol/http/listen.ts'
import { rawProblem, sendProblem } from '../protocol/http/problem-response.ts'
import { openSwitch } from '../protocol/http/switch.ts'
import { type Caller, type FrontGuard, refusalHeaders } from './limits/front-guard.ts'
import { type HostMeaning, resolveHost } from './names/resolve-host.ts'
import type { DataPlane } from './proxy/data-plane.ts'
import type { Destination } from './proxy/find-way.ts'
import { type CallerRequest, type RequestShape, readRequestShape } from './proxy/request-shape.ts'

/** Where providers connect by themselves. */
export interface TunnelDoor {
  /** Takes a WebSocket handshake at `/_/tunnel`, and owns the socket from then on. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

export interface GatewayHandlers {
  onRequest(request: IncomingMessage, response: HttpResponse, expectsContinue: boolean): void
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
}

export interface HandlerDeps {
  /** The gateway's own host, without port. */
  readonly host: string
  readonly dataPlane: DataPlane
  readonly serveControl: (request: IncomingMessage, response: HttpResponse) => Promise<void>
  readonly tunnels: TunnelDoor
  readonly guard: Pick<FrontGuard, 'admit'>
  readonly signal: AbortSignal
}

/** Parts the requests by their host: calls go to the data plane, which knows no framework, the rest to the pages. */
export function createHandlers(deps: HandlerDeps): GatewayHandlers {
  const read = (request: CallerRequest): { shape: RequestShape; meaning: Meaning } => {
    const shape = readRequestShape(request)
    return { shape, meaning: requireMeaning(resolveHost(shape.host, deps.host), shape.host, deps.host) }
  }
  return {
    onRequest(request, response, expectsContinue) {
      let caller: Caller | undefined
      try {
        caller = deps.guard.admit(request)
        response.on('close', caller.leave)
        const { shape, meaning } = read(request)
        if (meaning.kind !== 'control') {
          const call = { request, response, caller, shape, destination: meaning, expectsContinue }
          deps.dataPlane(call, deps.signal)
        } else {
          if (expectsContinue) response.writeContinue()
          request.url = shape.target
          void deps.serveControl(request, response)
        }
      } catch (error) {
        sendProblem(response, error, caller?.headers() ?? refusalHeaders(error))
      }
    },
    onUpgrade(request, socket, head) {
      let caller: Caller | undefined
      try {
        caller = deps.guard.admit(request)
        const { shape, meaning } = read(request)
        if (meaning.kind !== 'control') {
          socket.once('close', caller.leave)
          const call = { ...openSwitch(request, socket, head), caller, shape, destination: meaning }
          deps.dataPlane({ ...call, expectsContinue: false }, deps.signal)
        } else if (shape.target === '/_/tunnel') {
          // The tunnels have bounds of their own, and stay for days.
          caller.leave()
          deps.tunnels.upgrade(request, socket, head)
        } else throw webSocketUnsupported()
      } catch (error) {
        caller?.leave()
        socket.end(rawProblem(error), 'latin1', () => socket.destroy())
      }
    },
  }
}

/** The gateway itself, or calls. */
type Meaning = Destination | { readonly kind: 'control' }

/** @throws `name_malformed`, `host_unknown` */
function requireMeaning(meaning: HostMeaning, header: string, host: string): Meaning {
  const shown = header.slice(0, 100)
  const hint = `Call http://<provider>.${host}/<cid>.`
  if (meaning.kind === 'malformed') {
    throw new ProtocolError('name_malformed', `"${shown}" is not the host of a provider.`, { hint })
  }
  if (meaning.kind === 'unknown' || meaning.kind === 'foreign') {
    throw new ProtocolError('host_unknown', `This gateway does not answer for ${shown}.`, { hint })
  }
  return meaning
}

function webSocketUnsupported(): ProtocolError {
  return new ProtocolError('websocket_unsupported', 'The gateway itself has no page for WebSockets.', {
    hint: 'Call ws://<provider>.<gateway>/<cid>.',
  })
}
