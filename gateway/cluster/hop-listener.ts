import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { clusterHopHeader } from '../../protocol/http/headers.ts'
import { type HttpListener, listen } from '../../protocol/http/listen.ts'
import type { HttpResponse, OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { lastOfItsConnection, proxyCall } from '../proxy/proxy-call.ts'
import { type CallerRequest, readRequestShape } from '../proxy/request-shape.ts'
import { verifyHopToken } from './hop-token.ts'

export interface HopListenerDeps {
  readonly clock: Clock
  readonly log: Log
  /** Shared by the cluster. */
  readonly secret: Uint8Array
  /** The tunnels of this very gateway. */
  readonly localTunnel: (provider: Address) => Upstream | undefined
}

export interface HopListenerOptions {
  /** Address to listen on: of a network that the gateways share, and callers do not. */
  readonly host: string
  readonly port: number
  /** The name of this gateway in `Via`. */
  readonly via: string
}

/**
 * Where other gateways of the cluster hand over requests for providers whose tunnels are here. It serves nobody else, and
 * passes nothing on to a third gateway, so that no request can go round.
 *
 * @throws `port_taken`, `config_invalid`
 */
export function openHopListener(deps: HopListenerDeps, options: HopListenerOptions): Promise<HttpListener> {
  const serve = (request: CallerRequest, response: OutgoingResponse, onContinue?: () => void): void => {
    try {
      pass(request, response, deps, { via: options.via, onContinue })
    } catch (error) {
      if (!isProtocolError(error)) deps.log.error('hop_failed', { error: String(error) })
      sendProblem(response, error, onContinue ? lastOfItsConnection : [])
    }
  }
  return listen({
    host: options.host,
    port: options.port,
    onRequest: (request, response) => serve(request, response),
    onExpectContinue: (request, response: HttpResponse) =>
      serve(request, response, () => response.writeContinue()),
    onSwitch: (request, response) => serve(request as CallerRequest, response),
  })
}

function pass(
  request: CallerRequest,
  response: OutgoingResponse,
  { clock, secret, localTunnel }: HopListenerDeps,
  { via, onContinue }: { readonly via: string; readonly onContinue: (() => void) | undefined },
): void {
  const shape = readRequestShape(request)
  const { headers } = request
  const token = textOf(headers[clusterHopHeader])
  const provider = verifyHopToken(secret, { ...shape, token }, clock.nowMs())
  if (!provider) throw notOurs()
  const upstream = localTunnel(provider)
  if (!upstream) throw gone()
  // What the first gateway found out about the caller stands in these headers, and it has let nobody else write them.
  proxyCall(
    request,
    response,
    { upstream, host: undefined },
    {
      shape,
      via,
      proto: textOf(headers['x-forwarded-proto']) === 'https' ? 'https' : 'http',
      onContinue,
      remoteAddress: textOf(headers['x-forwarded-for']),
      requestId: textOf(headers['x-request-id']),
      cookieDomain: undefined,
      staleMs: undefined,
      callerHeaders: [],
      pageHeaders: [],
      hsts: undefined,
      trace: undefined,
      onPayer: () => undefined,
      // The first gateway looks after that.
      watchBody: () => () => undefined,
      onHead: () => undefined,
      onProblem: () => undefined,
    },
  )
}

const textOf = (value: string | string[] | undefined): string => (typeof value === 'string' ? value : '')

function notOurs(): ProtocolError {
  return new ProtocolError('client_blocked', 'This is where the gateways of a cluster meet.', {
    hint: 'Call the gateway where its page says.',
  })
}

function gone(): ProtocolError {
  return new ProtocolError('provider_offline', 'The tunnel of this provider has just left this gateway.', {
    hint: 'Send it again.',
  })
}
