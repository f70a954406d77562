import { getAddress, isAddress } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { drainBody } from '../../protocol/http/drain-body.ts'
import { headerValues, hopByHopHeaders, processHopHeader } from '../../protocol/http/headers.ts'
import { type HttpListener, listen } from '../../protocol/http/listen.ts'
import type { HttpResponse, IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { addTrailers } from '../../protocol/http/trailers.ts'
import type { Upstream, UpstreamExchange } from '../../protocol/http/upstream.ts'
import type { TunnelDirectory } from '../proxy/provider-routes.ts'
import { lastOfItsConnection } from '../proxy/proxy-call.ts'
import { controlHop } from './siblings.ts'

export interface HopDeps {
  readonly tunnels: TunnelDirectory
  /** Serves the gateway's own pages; undefined where another process does. */
  readonly serveControl: ((request: IncomingRequest, response: OutgoingResponse) => void) | undefined
}

/**
 * Takes what other processes of this gateway pass on, over a Unix socket that only they reach. The first has done all that
 * a gateway does to a request; here it only goes into the tunnel. What is not here is never looked for elsewhere.
 */
export function listenForHops({ tunnels, serveControl }: HopDeps, path: string): Promise<HttpListener> {
  const serve = (request: IncomingRequest, response: OutgoingResponse, onContinue?: () => void): void => {
    try {
      const target = headerValues(request.rawHeaders, processHopHeader).at(-1)
      if (target === controlHop && serveControl) {
        serveControl(request, response)
        return
      }
      const upstream = target !== undefined && isAddress(target) && tunnels.upstreamFor(getAddress(target))
      if (!upstream) throw notHere()
      relayRequest(request, response, upstream, onContinue)
    } catch (error) {
      sendProblem(response, error, onContinue ? lastOfItsConnection : [])
    }
  }
  return listen({
    path,
    onRequest: (request, response) => serve(request, response),
    onExpectContinue: (request, response: HttpResponse) =>
      serve(request, response, () => response.writeContinue()),
    onSwitch: (request, response) => serve(request, response),
  })
}

/**
 * Passes a request on and its answer back as they are.
 *
 * @param onContinue - Lets the body come; absent where it does not wait for that.
 */
export function relayRequest(
  request: IncomingRequest,
  response: OutgoingResponse,
  upstream: Upstream,
  onContinue?: () => void,
): void {
  const { switchesTo } = request
  const hasBody =
    request.headers['transfer-encoding'] !== undefined || (request.headers['content-length'] ?? '0') !== '0'
  const body = switchesTo || hasBody ? request : undefined
  let exchange: UpstreamExchange | undefined
  let isAborted = false
  let hasBytes = false
  let isBodyWanted = onContinue === undefined
  response.on('drain', () => exchange?.resume())
  response.on('close', () => {
    if (response.writableFinished) return
    isAborted = true
    exchange?.abort()
  })
  exchange = upstream.send(
    {
      method: request.method ?? 'GET',
      target: request.url ?? '/',
      rawHeaders: toNextHop(request.rawHeaders),
      ...(body && { body }),
      switchesTo,
      onBodyWanted:
        onContinue &&
        (() => {
          if (isBodyWanted || response.headersSent || response.destroyed) return
          isBodyWanted = true
          onContinue()
        }),
    },
    {
      onHead(status, rawHeaders) {
        response.writeHead(status, isBodyWanted ? rawHeaders : [...rawHeaders, ...lastOfItsConnection])
        queueMicrotask(() => {
          if (!hasBytes && !response.writableEnded) response.flushHeaders()
        })
      },
      onData(chunk) {
        hasBytes = true
        if (!isAborted && !response.write(chunk)) exchange?.pause()
      },
      onEnd(trailers) {
        if (isAborted) return
        addTrailers(response, trailers, 'provider')
        response.end()
        if (body && !switchesTo) drainBody(request)
      },
      onError: (error) => sendProblem(response, error, isBodyWanted ? [] : lastOfItsConnection),
    },
  )
  if (isAborted) exchange.abort()
}

function toNextHop(rawHeaders: readonly string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const lowerName = name.toLowerCase()
    if (hopByHopHeaders.has(lowerName) || lowerName === processHopHeader || lowerName === 'expect') continue
    kept.push(name, rawHeaders[index + 1]!)
  }
  return kept
}

function notHere(): ProtocolError {
  return new ProtocolError('provider_offline', 'The provider is not connected at the moment.', {
    hint: 'Try again in a few seconds, or call another provider.',
  })
}
