import type { IncomingMessage } from 'node:http'
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { limits } from '../limits.ts'
import { drainBody } from './drain-body.ts'
import { type H2Peer, H2Request } from './h2-request.ts'
import { H2Response } from './h2-response.ts'
import type { HttpListenerFunction, HttpResponse } from './listener.ts'

/** Serves HTTP/2 on connections that somebody else accepted. */
export interface H2Server {
  /** Takes a connection whose handshake has agreed on `h2`. */
  accept(socket: TLSSocket): void
  /** Tells callers to open other connections; requests in flight go on. */
  leave(): void
  /** Ends what is left. */
  cut(): void
}

export interface H2ServerOptions {
  readonly onRequest: HttpListenerFunction
  /** A request that waits for `100 Continue`. Without this, it is sent at once. */
  readonly onExpectContinue?: HttpListenerFunction | undefined
  /** For a whole request, its body included. */
  readonly requestTimeoutMs?: number
  /** A connection that has not answered a ping by the next one has gone. */
  readonly pingIntervalMs?: number
}

interface Session {
  readonly session: ServerHttp2Session
  idleSinceMs: number
  streams: number
  /** A ping is out that has not come back. */
  isSilent: boolean
}

/**
 * HTTP/2 with the bounds of the HTTP/1.1 listener: heads of the same size, as long to wait, as many requests of one
 * connection as a browser sends. A connection that answers no ping ends well before the system gives it up: Node has
 * aborted where a session wrote to a connection that the network had swallowed (nodejs/node#61304).
 */
export function createH2Server(options: H2ServerOptions): H2Server {
  const sessions = new Map<ServerHttp2Session, Session>()
  let isLeaving = false
  const server = createServer({
    maxHeaderListPairs: limits.h2HeadersMax,
    maxSessionMemory: limits.h2SessionMemoryMiBMax,
    settings: {
      maxConcurrentStreams: limits.h2StreamsMax,
      maxHeaderListSize: limits.headerBytesMax,
      initialWindowSize: limits.h2StreamWindowBytes,
      enablePush: false,
      enableConnectProtocol: false,
    },
  })

  const begin = (stream: ServerHttp2Stream): void => {
    const entry = stream.session && sessions.get(stream.session as ServerHttp2Session)
    if (!entry) return
    entry.streams++
    stream.on('close', () => {
      entry.streams--
      entry.idleSinceMs = performance.now()
    })
  }

  server.on('session', (session) => {
    sessions.set(session, { session, idleSinceMs: performance.now(), streams: 0, isSilent: false })
    session.setLocalWindowSize(limits.h2SessionWindowBytes)
    session.on('close', () => sessions.delete(session))
    // What broke is the caller's connection; its requests hear of it by their `close`.
    session.on('error', () => undefined)
    if (isLeaving) session.close()
  })
  server.on('sessionError', () => undefined)
  server.on('stream', (http2Stream, _headers, _flags, rawHeaders) => {
    // The typings do not say that a server's streams are a server's.
    const stream = http2Stream as ServerHttp2Stream
    stream.on('error', () => undefined)
    begin(stream)
    serve(stream, rawHeaders, options)
  })

  const sweep = setInterval(() => {
    for (const entry of sessions.values()) lookAfter(entry)
  }, options.pingIntervalMs ?? limits.h2PingIntervalMs)
  sweep.unref()

  return {
    accept: (socket) => void server.emit('connection', socket),
    leave() {
      isLeaving = true
      for (const { session } of sessions.values()) session.close()
    },
    cut() {
      clearInterval(sweep)
      for (const { session } of sessions.values()) session.destroy()
    },
  }
}

function lookAfter(entry: Session): void {
  const { session, isSilent } = entry
  if (session.destroyed) return
  if (isSilent) session.destroy()
  else if (entry.streams === 0 && performance.now() - entry.idleSinceMs > limits.listenerKeepAliveMs) {
    session.close()
  } else {
    entry.isSilent = true
    session.ping((error) => {
      if (!error) entry.isSilent = false
    })
  }
}

function serve(stream: ServerHttp2Stream, rawHeaders: readonly string[], options: H2ServerOptions): void {
  const request = new H2Request(stream, rawHeaders, new PeerOfStream(stream))
  const response = new H2Response(stream)
  limitBody(stream, request, options.requestTimeoutMs ?? limits.requestTimeoutMs)
  response.on('finish', () => {
    // A reset at once would overtake the answer. A body that nobody reads must not keep its stream either.
    if (!request.complete && !request.readableFlowing) drainBody(request)
  })
  // The same members as Node's own, as far as handlers here rely on them.
  const message = request as unknown as IncomingMessage
  const answer = response as unknown as HttpResponse
  const expectsContinue = request.headers['expect'] === '100-continue'
  if (expectsContinue && options.onExpectContinue) options.onExpectContinue(message, answer)
  else {
    if (expectsContinue) response.writeContinue()
    options.onRequest(message, answer)
  }
}

/** A class, not a literal with an accessor: see decision 110. */
class PeerOfStream implements H2Peer {
  readonly remoteAddress: string | undefined
  readonly encrypted = true
  bytesRead = 0
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream) {
    this.remoteAddress = stream.session?.socket.remoteAddress
    this.#stream = stream
  }

  get destroyed(): boolean {
    return this.#stream.destroyed
  }

  destroy(): void {
    this.#stream.destroy(new Error('The connection was given up.'))
  }
}

/** A whole request with its body has as long as in HTTP/1.1. */
function limitBody(stream: ServerHttp2Stream, request: H2Request, timeoutMs: number): void {
  if (request.complete) return
  const late = setTimeout(() => stream.destroy(tooSlow()), timeoutMs)
  late.unref()
  stream.on('end', () => clearTimeout(late))
  stream.on('close', () => clearTimeout(late))
}

const tooSlow = () => new Error('The request came too slowly.')
