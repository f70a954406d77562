import type { IncomingMessage, ServerResponse } from 'node:http'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Hono } from 'hono'
import type { Hex } from 'viem'
import type { Log } from '../../protocol/base/log.ts'
import { callHeaders } from '../../protocol/call.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest, OutgoingResponse, RequestListener } from '../../protocol/http/listener.ts'
import { problemResponse, sendProblem } from '../../protocol/http/problem-response.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { revealPath } from '../../protocol/swarm/reveal.ts'
import { parseRoute } from './call-path.ts'
import type { CallRequest } from './call-request.ts'

export interface ServeDeps {
  readonly log: Log
  readonly pages: Hono
  readonly runCall: (call: CallRequest) => Promise<void>
  /** Serves what stands below `revealPath`. */
  readonly reveal: (request: IncomingRequest, response: OutgoingResponse) => Promise<void>
}

/** The provider's whole HTTP surface. */
export interface Front {
  readonly onRequest: RequestListener
  /** Takes no more calls: they are told to come back. @returns once those in flight have ended */
  drain(): Promise<void>
}

/** Calls go the fast way, everything else to the pages. */
export function createFront({ log, pages, runCall, reveal }: ServeDeps): Front {
  const servePage = getRequestListener(pages.fetch, {
    overrideGlobalObjects: false,
    errorHandler: (thrown) => problemResponse(thrown instanceof RequestError ? badRequest() : thrown),
  })
  let callsInFlight = 0
  let draining: PromiseWithResolvers<void> | undefined

  const onRequest: RequestListener = (request, response) => {
    const refuse = (error: ProtocolError, callId?: Hex, rawHeaders: RawHeaders = []) =>
      sendProblem(
        response,
        error,
        callId === undefined ? rawHeaders : [callHeaders.call, callId, ...rawHeaders],
      )
    try {
      const route = parseRoute(request.url ?? '/')
      if (route.kind === 'page') {
        if (request.switchesTo) throw noWebSockets()
        if (request.url?.startsWith(revealPath)) {
          reveal(request, response).catch((thrown) => refuse(toProtocolError(thrown)))
          return
        }
        servePage(request as IncomingMessage, response as unknown as ServerResponse)
        return
      }
      if (draining) throw stopping()
      if (callsInFlight >= limits.callsInFlightPerProviderMax) throw busy(callsInFlight)
      callsInFlight += 1
      const gone = new AbortController()
      response.once('close', () => {
        callsInFlight -= 1
        if (callsInFlight === 0) draining?.resolve()
        if (!response.writableFinished) gone.abort(new DOMException('The caller has gone.', 'AbortError'))
      })
      const { cid, target } = route
      runCall({ request, response, cid, target, refuse, signal: gone.signal }).catch((thrown) => {
        // Nothing went wrong, and nobody is there to be told.
        if (response.destroyed && isAbort(thrown)) return
        const error = toProtocolError(thrown)
        if (error.code === 'internal') log.error('call_broken', { cid: route.cid, error: describe(thrown) })
        refuse(error)
      })
    } catch (thrown) {
      refuse(toProtocolError(thrown))
    }
  }

  return {
    onRequest,
    drain() {
      draining ??= Promise.withResolvers()
      if (callsInFlight === 0) draining.resolve()
      return draining.promise
    },
  }
}

const isAbort = (thrown: unknown) => thrown instanceof Error && thrown.name === 'AbortError'

const describe = (thrown: unknown) =>
  thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)

function busy(callsInFlight: number): ProtocolError {
  const retryAfterSeconds = limits.busyRetryAfterSeconds
  return new ProtocolError('provider_busy', `The provider answers ${callsInFlight} calls already.`, {
    hint: `Send it again in ${retryAfterSeconds} s.`,
    details: { retryAfterSeconds },
  })
}

function stopping(): ProtocolError {
  const retryAfterSeconds = limits.stoppingRetryAfterSeconds
  return new ProtocolError('provider_stopping', 'The provider is shutting down, and takes no more calls.', {
    hint: `Send it again in ${retryAfterSeconds} s, or to another provider.`,
    details: { retryAfterSeconds },
  })
}

function noWebSockets(): ProtocolError {
  return new ProtocolError('websocket_unsupported', 'The provider itself has no page for WebSockets.', {
    hint: 'Call ws://<provider>.<gateway>/<cid>.',
  })
}

/** A host or a path of which no URL can be made. */
function badRequest(): ProtocolError {
  return new ProtocolError('bad_request', 'The host and the path of the request make no URL.', {
    hint: 'Send a path that begins with / and one host.',
  })
}
