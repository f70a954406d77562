import type { ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import { createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
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

/** Finds what is shown to callers of another host than the identity is for; undefined where it is shown to them, too. */
export type FindCertificate = (
  servername: string,
) => Promise<{ readonly cert: string; readonly key: string } | undefined>

/** A server with TLS 1.2 or newer: what a handshake agrees on (ALPN) decides who reads the connection. */
export function createSecureServer(
  identity: TlsIdentity,
  h2: H2Server,
  { findCertificate, ...options }: ServerOptions & { readonly findCertificate?: FindCertificate | undefined },
): Server {
  const server: Server = createServer({
    ...options,
    ...toTlsOptions(identity),
    ...(findCertificate && { SNICallback: findContext(() => server.getTicketKeys(), findCertificate) }),
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

/** Contexts are made once for each certificate and the ticket keys of the time: that costs more than a handshake. */
function findContext(readTicketKeys: () => Buffer, findCertificate: FindCertificate) {
  const contexts = new WeakMap<object, { readonly context: SecureContext; readonly ticketKeys: Buffer }>()
  return (servername: string, done: (error: Error | null, context?: SecureContext) => void): void => {
    findCertificate(servername).then(
      (pair) => {
        if (!pair) return done(null)
        const ticketKeys = readTicketKeys()
        const known = contexts.get(pair)
        if (known?.ticketKeys.equals(ticketKeys)) return done(null, known.context)
        const context = createSecureContext(toTlsOptions({ cert: pair.cert, key: pair.key, ticketKeys }))
        contexts.set(pair, { context, ticketKeys })
        done(null, context)
      },
      () => done(null),
    )
  }
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
