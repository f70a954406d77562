import type { ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { limits } from '../limits.ts'
import { copyAddress } from './accept-proxied.ts'
import type { H2Server } from './h2-server.ts'

/** What a TLS listener shows to callers. */
export interface TlsIdentity {
  /** PEM: the server's own certificate, then the chain above it. */
  readonly cert: string
  /** PEM, not encrypted. */
  readonly key: string
  /** 48 bytes; processes that share them resume each other's sessions. */
  readonly ticketKeys: Buffer
}

/** A server with TLS 1.2 or newer: what a handshake agrees on (ALPN) decides who reads the connection. */
export function createSecureServer(identity: TlsIdentity, h2: H2Server, options: ServerOptions): Server {
  const server = createServer({
    ...options,
    ...toTlsOptions(identity),
    ALPNProtocols: ['h2', 'http/1.1'],
    handshakeTimeout: limits.tlsHandshakeTimeoutMs,
  })
  const [serveH1] = server.listeners('secureConnection') as [(socket: TLSSocket) => void]
  server.removeAllListeners('secureConnection')
  server.on('secureConnection', (socket: TLSSocket) => {
    copyAddress(socket)
    if (socket.alpnProtocol === 'h2') h2.accept(socket)
    else serveH1.call(server, socket)
  })
  // Who failed to shake hands cannot read a reason.
  server.removeAllListeners('tlsClientError')
  server.on('tlsClientError', (_, socket) => socket.destroy())
  return server
}

/** Takes effect with the next connection. */
export function showIdentity(server: Server, identity: TlsIdentity): void {
  server.setSecureContext(toTlsOptions(identity))
}

function toTlsOptions({ cert, key, ticketKeys }: TlsIdentity) {
  return { cert, key, ticketKeys, sessionIdContext, minVersion: 'TLSv1.2' } as const
}

/** Node would make one of the process's arguments: processes that were started differently would take up no session of each other. */
const sessionIdContext = 'khachapuri'
