import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Clock } from '../protocol/base/clock.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { connectReader } from '../protocol/http/connect-reader.ts'
import { createHttpPool } from '../protocol/http/h1-client.ts'
import { announcedLength, headerValues } from '../protocol/http/headers.ts'
import type { IncomingRequest, OutgoingResponse, RequestListener } from '../protocol/http/listener.ts'
import { sendProblem } from '../protocol/http/problem-response.ts'
import { addTrailers } from '../protocol/http/trailers.ts'
import type { RawHeaders, UpstreamExchange } from '../protocol/http/upstream.ts'
import { limits } from '../protocol/limits.ts'
import { loopbackLookup } from './loopback-lookup.ts'

/** One request that a service was given, once it is over. */
export interface ForwardedRequest {
  readonly method: string
  /** Without its query, which may hold secrets. */
  readonly path: string
  /** What the caller was answered; undefined where nothing could be answered any more. */
  readonly status: number | undefined
  /** Why it was not the service's answer, or not all of it. */
  readonly error: ProtocolError | undefined
  /** Until the head of the answer. */
  readonly firstByteMs: number | undefined
  readonly durationMs: number
}

export interface ForwardOptions {
  /** `http:` or `https:`; only its origin counts. */
  readonly service: URL
  /** What the service is to see as `Host`; what the caller called, unless given. */
  readonly hostHeader?: string
  /** How many requests it gets at a time, and how many WebSockets beside; 1,024 unless given. Further ones wait. */
  readonly connectionsMax?: number
  readonly onRequest?: (request: ForwardedRequest) => void
}

/** Disposal ends its connections. */
export interface ServiceForwarder extends Disposable {
  readonly serve: RequestListener
}

/**
 * Hands requests on to an HTTP service of this machine or its network, and streams its answers back. A service that does
 * not answer is `local_service_down`: callers can tell that the tunnel stands, and hear nothing about the machine.
 */
export function forwardToService(
  { clock }: { clock: Pick<Clock, 'monotonicMs'> },
  { service, hostHeader, onRequest, connectionsMax = limits.connectionsPerUpstreamMax }: ForwardOptions,
): ServiceForwarder {
  const options = {
    connect: () => connectTo(service),
    connectionsMax,
    keepAliveMs: limits.serviceKeepAliveMs,
  }
  const pool = createHttpPool(options)
  // They last; of one number with requests, a few of them would keep every other one waiting.
  const webSockets = createHttpPool({ ...options, requestsWaitingMax: 0 })

  const serve = (request: IncomingRequest, response: OutgoingResponse): void => {
    const { method = 'GET', url: target = '/' } = request
    const startMs = clock.monotonicMs()
    let status: number | undefined
    let error: ProtocolError | undefined
    let firstByteMs: number | undefined
    let exchange: UpstreamExchange | undefined
    let isGone = false
    let announcedBytes: number | undefined
    let isBegun = false

    response.on('drain', () => exchange?.resume())
    response.on('close', () => {
      isGone = !response.writableFinished
      if (isGone) exchange?.abort()
      const durationMs = clock.monotonicMs() - startMs
      onRequest?.({ method, path: pathOf(target), status, error, firstByteMs, durationMs })
    })
    exchange = (request.switchesTo ? webSockets : pool).send(
      {
        method,
        target,
        rawHeaders: hostHeader === undefined ? request.rawHeaders : withHost(request.rawHeaders, hostHeader),
        ...((request.switchesTo || hasBody(request)) && { body: request }),
        switchesTo: request.switchesTo,
        // Reading it is what asks for it.
        ...(request.expectsContinue && { onBodyWanted: () => undefined }),
      },
      {
        onHead(head, rawHeaders) {
          status = head
          firstByteMs = clock.monotonicMs() - startMs
          announcedBytes = announcedLength(rawHeaders)
          response.writeHead(head, rawHeaders)
        },
        onData(chunk) {
          // Head, body and end in one frame: an eighth less for both ends than three of them.
          if (!isBegun && chunk.length === announcedBytes) response.end(chunk)
          else if (!response.write(chunk)) exchange?.pause()
          isBegun = true
        },
        onEnd(trailers) {
          addTrailers(response, trailers, 'others')
          if (!response.writableEnded) response.end()
        },
        onError(cause) {
          error = cause.code === 'provider_unreachable' ? serviceDown(cause) : cause
          status ??= error.status
          sendProblem(response, error)
        },
      },
    )
    if (isGone) exchange.abort()
    else if (response.writableNeedDrain) exchange.pause()
  }
  return {
    serve,
    [Symbol.dispose]() {
      pool.close()
      webSockets.close()
    },
  }
}

function connectTo({ protocol, hostname, port }: URL): Socket {
  const host = hostname.replace(/^\[|\]$/g, '')
  const isSecure = protocol === 'https:'
  const place = {
    host,
    port: Number(port) || (isSecure ? 443 : 80),
    lookup: loopbackLookup,
    noDelay: true,
    highWaterMark: limits.socketBufferBytes,
  }
  const socket = isSecure
    ? connectTls({ ...place, servername: host, ALPNProtocols: ['http/1.1'] })
    : connectReader(place)
  socket.setTimeout(limits.connectTimeoutMs, () =>
    socket.destroy(new Error(`no connection within ${limits.connectTimeoutMs} ms`)),
  )
  socket.once(isSecure ? 'secureConnect' : 'connect', () => socket.setTimeout(0))
  return socket
}

/** The cause is for whoever sits at this machine; strangers are not told where the service would be. */
function serviceDown(cause: ProtocolError): ProtocolError {
  return new ProtocolError(
    'local_service_down',
    'The tunnel stands, but the service behind it does not answer.',
    {
      hint: 'Try again once its owner has started it.',
      cause: cause.cause ?? cause,
    },
  )
}

function hasBody({ rawHeaders }: IncomingRequest): boolean {
  return Boolean(announcedLength(rawHeaders)) || headerValues(rawHeaders, 'transfer-encoding').length > 0
}

function withHost(rawHeaders: RawHeaders, host: string): string[] {
  const changed = ['host', host]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (name.toLowerCase() !== 'host') changed.push(name, rawHeaders[index + 1] ?? '')
  }
  return changed
}

function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}
