import {
  createServer,
  type RequestListener as HttpRequestListener,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import type { Server as SecureServer } from 'node:https'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { assert } from '../base/assert.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { acceptProxied } from './accept-proxied.ts'
import { keepRoom } from './connection-room.ts'
import { createH2Server, type H2Server } from './h2-server.ts'
import type { HttpListenerFunction, RequestListener } from './listener.ts'
import { rawProblem } from './problem-response.ts'
import { createSecureServer, type FindCertificate, showIdentity, type TlsIdentity } from './secure-server.ts'
import { openSwitch } from './switch.ts'

export interface ListenOptions {
  /** Address to listen on; with `path` neither it nor `port` matter. */
  readonly host?: string
  /** 0 takes a free one. */
  readonly port?: number
  /** A Unix socket instead, for processes of this machine. */
  readonly path?: string
  /** With this the listener speaks TLS, and HTTP/2 to whoever asks for it; without, HTTP/1.1 in the clear. */
  readonly tls?: TlsIdentity
  /** What is shown to callers of other hosts. Only with `tls`. */
  readonly findCertificate?: FindCertificate | undefined
  /** Lets several processes share the port, each with its own connections. */
  readonly isShared?: boolean
  readonly onRequest: HttpListenerFunction
  /** A request that waits for `100 Continue`; the listener sends it, or refuses. Without this, it is sent once the body is read. */
  readonly onExpectContinue?: HttpListenerFunction
  /** A WebSocket handshake; whoever takes it owns the socket. */
  readonly onUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** The same as a request that may be answered 101. Without either, it is an ordinary request. */
  readonly onSwitch?: RequestListener
  /** @returns what to call when the connection has closed; undefined for one that is to be closed at once. */
  readonly admitConnection?: ((remoteAddress: string) => (() => void) | undefined) | undefined
  /** Whether an address is that of a load balancer that says whose each connection is (PROXY protocol). */
  readonly isBalancer?: ((remoteAddress: string) => boolean) | undefined
  /** For a head; then `request_timeout`. Looked at every second. */
  readonly headerTimeoutMs?: number
  /** For a whole request, its body included. */
  readonly requestTimeoutMs?: number
  /** Of HTTP/2 connections, between two looks whether they are still there. */
  readonly pingIntervalMs?: number
  /** How many connections there may be; then those that never asked for anything go. */
  readonly connectionsMax?: number
  /** How long requests in flight may go on once the listener closes. */
  readonly shutdownTimeoutMs?: number
}

/** Disposal stops accepting, lets what is in flight finish, and ends what is left when the time is over. */
export interface HttpListener extends AsyncDisposable {
  readonly host: string
  readonly port: number
  readonly url: URL
  /** Shows another certificate from the next connection on; those that are open go on. A TLS listener only. */
  setIdentity(identity: TlsIdentity): void
  /** From now on each answer is the last of its connection, so that callers go elsewhere; all are still served. */
  leave(): void
  /** Open connections, those that were upgraded included. */
  readonly connections: number
}

/** How often the closing listener looks for connections whose last answer is out. */
const closeCheckMs = 20

/**
 * Listens for HTTP, strictly: bounded heads, bounded waiting, one `Host`.
 *
 * @throws `port_taken`, `config_invalid` (an address that this machine does not have)
 */
export async function listen(options: ListenOptions): Promise<HttpListener> {
  const { onSwitch } = options
  const onUpgrade =
    options.onUpgrade ??
    (onSwitch &&
      ((message: IncomingMessage, socket: Duplex, head: Buffer) => {
        const { request, response } = openSwitch(message, socket, head)
        onSwitch(request, response)
      }))
  const h2 = options.tls && createH2Server(options)
  const serverOptions: ServerOptions = {
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: options.headerTimeoutMs ?? limits.headerTimeoutMs,
    requestTimeout: options.requestTimeoutMs ?? limits.requestTimeoutMs,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: limits.listenerKeepAliveMs,
    requireHostHeader: true,
    insecureHTTPParser: false,
    noDelay: true,
    highWaterMark: limits.socketBufferBytes,
    shouldUpgradeCallback: ({ headers }) =>
      onUpgrade !== undefined && headers.upgrade?.toLowerCase() === 'websocket',
  }
  const secure =
    options.tls &&
    h2 &&
    createSecureServer(options.tls, h2, { ...serverOptions, findCertificate: options.findCertificate })
  const server: Server | SecureServer = secure ?? createServer(serverOptions)
  const { admitConnection } = options
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections++
    socket.once('close', () => void connections--)
  })
  if (admitConnection) server.on('connection', (socket: Socket) => admitSocket(socket, admitConnection))
  const room = keepRoom(server, options.connectionsMax ?? limits.listenerConnectionsMax)
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === 'h2') room.noteAsked(socket)
  })
  if (options.isBalancer) {
    const timeoutMs = options.headerTimeoutMs ?? limits.proxyHeaderTimeoutMs
    acceptProxied(server, { isBalancer: options.isBalancer, timeoutMs })
  }
  let isLeaving = false
  const lastOfItsConnection = (request: IncomingMessage, response: ServerResponse) => {
    room.noteAsked(request.socket)
    if (isLeaving) response.shouldKeepAlive = false
  }
  server.on('request', lastOfItsConnection)
  server.on('request', options.onRequest as HttpRequestListener)
  server.on('checkContinue', lastOfItsConnection)
  if (options.onExpectContinue) {
    server.on('checkContinue', options.onExpectContinue as HttpRequestListener)
  } else {
    server.on('checkContinue', continueOnRead)
    server.on('checkContinue', options.onRequest as HttpRequestListener)
  }
  server.on('clientError', refuseMalformed)
  server.on('connect', refuseConnect)
  const upgraded = new Set<Duplex>()
  server.on('upgrade', (request, socket, head) => {
    room.noteAsked(request.socket)
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket))
    socket.on('error', () => socket.destroy())
    onUpgrade?.(request, socket, head)
  })

  const port = await bind(server, options).catch((error) => {
    h2?.cut()
    throw error
  })
  const { host = '127.0.0.1' } = options
  return {
    host,
    port,
    leave() {
      isLeaving = true
      h2?.leave()
    },
    get connections() {
      return connections
    },
    url: new URL(`${options.tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}/`),
    setIdentity(identity) {
      assert(secure, 'a listener without TLS has no certificate')
      showIdentity(secure, identity)
    },
    [Symbol.asyncDispose]: () =>
      close(
        { server, h2, upgraded },
        {
          idleMs: isLeaving ? limits.listenerLeaveIdleMs : 0,
          shutdownTimeoutMs: options.shutdownTimeoutMs ?? limits.shutdownTimeoutMs,
        },
      ),
  }
}

/**
 * Asks for a body once somebody reads it. An answer before that is the last of its connection: nobody knows whether what comes
 * next is the body after all, or another request.
 */
function continueOnRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read
  const isKeptAlive = response.shouldKeepAlive
  response.shouldKeepAlive = false
  request._read = (size) => {
    request._read = read
    if (!response.headersSent && !response.destroyed) {
      response.shouldKeepAlive = isKeptAlive
      response.writeContinue()
    }
    read.call(request, size)
  }
}

/** Whoever is refused here is told nothing: a word for each of very many connections would be work, too. */
function admitSocket(socket: Socket, admitConnection: NonNullable<ListenOptions['admitConnection']>): void {
  const onClose = admitConnection(socket.remoteAddress ?? '')
  if (onClose) socket.once('close', onClose)
  else socket.destroy()
}

/** @returns the port; 0 for a Unix socket */
function bind(server: Server, options: ListenOptions): Promise<number> {
  const { host = '127.0.0.1', port = 0, path, isShared = false } = options
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(describeBindError(error, host, port)))
    if (path !== undefined) server.listen({ path }, () => resolve(0))
    else {
      server.listen({ host, port, reusePort: isShared }, () =>
        resolve((server.address() as AddressInfo).port),
      )
    }
  })
}

function describeBindError(error: NodeJS.ErrnoException, host: string, port: number): unknown {
  if (error.code === 'EADDRINUSE') {
    return new ProtocolError('port_taken', `Port ${port} on ${host} is taken.`, {
      hint: 'Stop the program that listens there, or choose another port.',
      details: { host, port },
      cause: error,
    })
  }
  return new ProtocolError('config_invalid', `Cannot listen on port ${port} of ${host}: ${error.code}.`, {
    hint: 'Choose an address of this machine, and a port above 1023.',
    details: { host, port },
    cause: error,
  })
}

/**
 * Waits for the HTTP connections only: upgraded sockets belong to whoever took them, and may close later.
 *
 * @param idleMs - How long connections without a request stay. Node takes one whose request has arrived and was not read
 *   yet for idle, and would cut it.
 */
async function close(
  { server, h2, upgraded }: { server: Server; h2: H2Server | undefined; upgraded: ReadonlySet<Duplex> },
  { idleMs, shutdownTimeoutMs }: { idleMs: number; shutdownTimeoutMs: number },
): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  const startedMs = performance.now()
  // Unlike that of HTTP, this leaves idle connections alone.
  NetServer.prototype.close.call(server, () => resolve())
  h2?.leave()
  const sweep = () => {
    if (performance.now() - startedMs >= idleMs) server.closeIdleConnections()
    server.getConnections((_, connections) => {
      if (connections <= upgraded.size) resolve()
    })
  }
  const sweeping = setInterval(sweep, closeCheckMs)
  sweep()
  const deadline = setTimeout(() => {
    h2?.cut()
    server.closeAllConnections()
  }, shutdownTimeoutMs)
  await closed
  // Only this ends Node's watch over slow connections.
  server.close()
  h2?.cut()
  clearInterval(sweeping)
  clearTimeout(deadline)
}

/** What Node's parser rejects never becomes a request; whoever sent it still deserves a reason. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Node's own handler looks at this field, too: in the middle of an answer, a second one would be taken for its body.
  const { _httpMessage: current } = socket as { _httpMessage?: ServerResponse }
  if (error.code === 'ECONNRESET' || !socket.writable || current?.headersSent) {
    socket.destroy()
    return
  }
  const isTooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const isLate = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const problem = isTooLarge
    ? new ProtocolError('headers_too_large', `The headers have more than ${limits.headerBytesMax} bytes.`, {
        hint: 'Send fewer or shorter headers.',
      })
    : isLate
      ? new ProtocolError('request_timeout', 'The request came too slowly.', { hint: 'Send it faster.' })
      : new ProtocolError('bad_request', 'This is not HTTP/1.1.', { hint: 'Send well-formed HTTP.' })
  socket.end(rawProblem(problem), 'latin1', () => socket.destroy())
}

function refuseConnect(_: IncomingMessage, socket: Duplex): void {
  socket.on('error', () => socket.destroy())
  const problem = new ProtocolError('method_not_allowed', 'This is no proxy for CONNECT.', {
    hint: 'Call https://<provider>.<gateway>/<cid> instead.',
  })
  socket.end(rawProblem(problem), 'latin1', () => socket.destroy())
}
