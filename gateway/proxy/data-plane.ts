import { randomUUID } from 'node:crypto'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import type { Name } from '../../protocol/name.ts'
import { type Caller, type FrontGuard, refusalHeaders } from '../limits/front-guard.ts'
import type { NameAnswer, NameCache } from '../names/name-cache.ts'
import type { ProviderRoutes } from './provider-routes.ts'
import { proxyCall } from './proxy-call.ts'
import {
  type CallerRequest,
  type RequestShape,
  refuseLoop,
  refuseWideServiceWorker,
} from './request-shape.ts'

export interface DataPlaneDeps {
  readonly clock: Clock
  readonly log: Log
  readonly names: NameCache
  readonly routes: ProviderRoutes
  readonly guard: Pick<FrontGuard, 'admitCall'>
}

export interface DataPlaneOptions {
  /** The gateway's host, with port, as in `Via`. */
  readonly domain: string
  /** The gateway's host without port. */
  readonly domainHost: string
  /** How callers reach the gateway. */
  readonly proto: 'http' | 'https'
  /** `Strict-Transport-Security`, where the gateway ends TLS itself. */
  readonly hsts?: string | undefined
  /** One line in the log per call. */
  readonly logsCalls: boolean
}

/** Node's own is one; a WebSocket handshake never waits for `100 Continue`. */
export interface CallerResponse extends OutgoingResponse {
  writeContinue?(): void
}

/** A request to a provider, with what was read out of it so far. */
export interface ProviderRequest {
  readonly request: CallerRequest
  readonly response: CallerResponse
  readonly caller: Caller
  readonly shape: RequestShape
  readonly name: Name
  /** Whether the caller waits for `100 Continue`. */
  readonly expectsContinue: boolean
}

/** Serves one request to a provider; never throws, always answers. */
export type DataPlane = (call: ProviderRequest, signal: AbortSignal) => void

/** The path of every call through the gateway: name, route, proxy, log. Nothing on it waits while the name is known. */
export function createDataPlane(deps: DataPlaneDeps, options: DataPlaneOptions): DataPlane {
  const { clock, log, names, routes, guard } = deps

  function pass(
    call: ProviderRequest,
    answer: NameAnswer,
    requestId: string,
  ): { readonly sentBytes: number } {
    const { request, response, caller, shape, name } = call
    const { provider, staleMs } = requireKnown(answer, name)
    refuseLoop(request, options.domain)
    refuseWideServiceWorker(request, shape.target)
    const { headers } = request
    const ticket = guard.admitCall(caller, { provider, cid: cidOf(shape.target), headers })
    const route = routes.routeTo(provider)
    if (call.expectsContinue) response.writeContinue?.()
    return proxyCall(request, response, route, {
      shape,
      requestId,
      staleMs,
      hostname: `${name}.${options.domainHost}`,
      via: options.domain,
      proto: options.proto,
      remoteAddress: caller.address,
      callerHeaders: caller.headers(),
      onPayer: ticket.onPayer,
      hsts: options.hsts,
    })
  }

  return (call, signal) => {
    const { request, response, shape, name } = call
    const startedMs = clock.monotonicMs()
    const requestId = readRequestId(request)
    let progress: { readonly sentBytes: number } | undefined
    if (options.logsCalls) {
      response.on('close', () =>
        log.info('call_proxied', {
          requestId,
          provider: name,
          method: shape.method,
          path: pathOf(shape.target),
          status: response.headersSent ? response.statusCode : undefined,
          isWhole: response.writableFinished,
          sentBytes: progress?.sentBytes ?? 0,
          durationMs: Math.round((clock.monotonicMs() - startedMs) * 100) / 100,
        }),
      )
    }
    const refuse = (error: unknown) => {
      if (!isProtocolError(error)) log.error('call_failed', { requestId, error: String(error) })
      sendProblem(response, error, ['x-request-id', requestId, ...refusalHeaders(error)])
    }
    const serve = (answer: NameAnswer) => {
      // The caller may have gone while the name was looked up.
      if (response.destroyed) return
      try {
        progress = pass(call, answer, requestId)
      } catch (error) {
        refuse(error)
      }
    }
    const known = names.peek(name)
    if (known) serve(known)
    else names.resolve(name, signal).then(serve, refuse)
  }
}

function requireKnown(answer: NameAnswer, name: Name): NameAnswer & { kind: 'known' } {
  if (answer.kind === 'known') return answer
  if (answer.kind === 'refused') throw answer.error
  throw new ProtocolError('provider_unknown', `No provider has the name ${name}.`, {
    hint: 'Check the first part of the host; the page of the gateway lists the providers it knows.',
    details: { provider: name },
  })
}

/** A caller's own id where it is harmless, so that it finds its request in both logs. */
function readRequestId({ headers }: CallerRequest): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}

/** What stands where a call has its CID. */
function cidOf(target: string): string {
  const end = target.slice(1).search(/[/?#]/)
  return end < 0 ? target.slice(1) : target.slice(1, end + 1)
}

function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}
