import type { Log } from '../../protocol/base/log.ts'
import { formatAttempt } from '../../protocol/call-attempt.ts'
import { isProtocolError, type ProtocolError } from '../../protocol/errors.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import type { ProviderName } from '../../protocol/name.ts'
import { swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { type Caller, type FrontGuard, refusalHeaders } from '../limits/front-guard.ts'
import type { RequestRecord } from '../observe/observer.ts'
import { readVoucherSet, withVoucherFor } from '../routing/own-voucher.ts'
import { noSwarm } from '../swarm/draw-swarm.ts'
import type { Destination, FindWay, Way } from './find-way.ts'
import { readPageAccess } from './page-access.ts'
import type { ProviderRoute } from './provider-routes.ts'
import { lastOfItsConnection, proxyCall } from './proxy-call.ts'
import {
  type CallerRequest,
  type RequestShape,
  refuseLoop,
  refuseWideServiceWorker,
} from './request-shape.ts'

export interface DataPlaneDeps {
  readonly log: Log
  readonly findWay: FindWay
  readonly guard: Pick<FrontGuard, 'admitCall' | 'watchBody'>
}

export interface DataPlaneOptions {
  /** The gateway's host, with port, as in `Via`. */
  readonly domain: string
  /** How callers reach the gateway. */
  readonly proto: 'http' | 'https'
  /** Of the gateway's own pages. */
  readonly origin: string
  /** `Strict-Transport-Security`, where the gateway ends TLS itself. */
  readonly hsts?: string | undefined
}

/** Node's own is one; a WebSocket handshake never waits for `100 Continue`. */
export interface CallerResponse extends OutgoingResponse {
  writeContinue?(): void
}

/** A request to a provider, with what was read out of it so far. */
export interface ProviderRequest {
  readonly request: CallerRequest
  readonly response: CallerResponse
  readonly record: RequestRecord
  readonly caller: Caller
  readonly shape: RequestShape
  readonly destination: Destination
  /** Whether the caller waits for `100 Continue`. */
  readonly expectsContinue: boolean
}

/** Serves one request to a provider; never throws, always answers. */
export type DataPlane = (call: ProviderRequest, signal: AbortSignal) => void

/** The path of every call through the gateway: name, route, proxy, log. Nothing on it waits while the name is known. */
export function createDataPlane(deps: DataPlaneDeps, options: DataPlaneOptions): DataPlane {
  const { log, findWay, guard } = deps

  function pass(call: ProviderRequest, way: Way): { readonly sentBytes: number } {
    const { request, response, record, caller, shape } = call
    const { requestId, span } = record
    if (!way.isOwnOrigin) refuseWideServiceWorker(request, shape.target)
    const { headers } = request
    if (way.provider && headers[swarmHeaders.swarm] !== undefined)
      throw noSwarm(
        `${way.provider.name} is one provider.`,
        `Call the deployment: http://any.${options.domain}/<cid>/, or its name.`,
      )
    const ticket = guard.admitCall(caller, { provider: way.provider, cid: cidOf(way.target), headers })
    const route = showingOwnVoucher(way.openRoute(), way.provider, headers)
    return proxyCall(request, response, route, {
      shape: way.target === shape.target ? shape : { ...shape, target: way.target },
      requestId,
      staleMs: way.staleMs,
      cookieDomain: way.cookieDomain,
      via: options.domain,
      proto: options.proto,
      remoteAddress: caller.address,
      onContinue: call.expectsContinue ? () => response.writeContinue?.() : undefined,
      callerHeaders: caller.headers(),
      onPayer: ticket.onPayer,
      hsts: options.hsts,
      pageHeaders: readPageAccess(request, options.origin)?.rawHeaders ?? [],
      trace:
        span.traceparent === undefined ? undefined : { traceparent: span.traceparent, isNew: span.isNew },
      watchBody: (onSlow) => guard.watchBody(caller, request, onSlow),
      onHead: record.noteHead,
      onProblem: record.noteProblem,
      describeFailure: (error, isUntaken) => describeFailure(way.provider, error, isUntaken),
    })
  }

  return (call, signal) => {
    const { request, response, record, shape, destination } = call
    const refuse = (error: unknown, provider?: ProviderName) => {
      const { requestId } = record
      if (!isProtocolError(error)) log.error('call_failed', { requestId, error: String(error) })
      record.noteProblem(error)
      const last = call.expectsContinue ? lastOfItsConnection : []
      const told = isProtocolError(error) ? describeFailure(provider, error, true) : []
      const attempts = told.flatMap((attempt) => [gatewayHeaders.attempt, attempt])
      sendProblem(response, error, [
        ...(readPageAccess(request, options.origin)?.rawHeaders ?? []),
        'x-request-id',
        requestId,
        ...refusalHeaders(error),
        ...attempts,
        ...last,
      ])
    }
    const serve = (found: Way) => {
      // The caller may have gone while the name was looked up.
      if (response.destroyed) return
      try {
        record.servedBy = found.servedBy
        record.progress = pass(call, found)
      } catch (error) {
        refuse(error, found.provider)
      }
    }
    try {
      refuseLoop(request, options.domain)
      const access = readPageAccess(request, options.origin)
      if (access?.isPreflight) {
        response.writeHead(204, [...access.rawHeaders])
        response.end()
        return
      }
      const found = findWay({ destination, shape, headers: request.headers }, signal)
      if (found instanceof Promise) found.then(serve, (error) => refuse(error))
      else serve(found)
    } catch (error) {
      refuse(error)
    }
  }
}

/** What a provider is shown of a set of vouchers is the one for it. */
function showingOwnVoucher(
  route: ProviderRoute,
  provider: ProviderName | undefined,
  headers: CallerRequest['headers'],
): ProviderRoute {
  const vouchers = provider && readVoucherSet(headers)
  if (!vouchers) return route
  const send: Upstream['send'] = (request, handler) => {
    const rawHeaders = withVoucherFor(request.rawHeaders, vouchers, provider.address)
    return route.upstream.send({ ...request, rawHeaders }, handler)
  }
  return { ...route, upstream: { send } }
}

/** Whoever chose the provider may go on to the next one where this one never had the call. */
function describeFailure(
  provider: ProviderName | undefined,
  { code }: ProtocolError,
  isUntaken: boolean,
): readonly string[] {
  if (!provider) return []
  const { name, address } = provider
  return [formatAttempt({ name, address, outcome: isUntaken ? 'unreached' : 'doubtful', code })]
}

/** What stands where a call has its CID. */
function cidOf(target: string): string {
  const end = target.slice(1).search(/[/?#]/)
  return end < 0 ? target.slice(1) : target.slice(1, end + 1)
}
