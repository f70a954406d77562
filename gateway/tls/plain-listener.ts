import type { IncomingMessage } from 'node:http'
import { ProtocolError } from '../../protocol/errors.ts'
import { type HttpListener, listen } from '../../protocol/http/listen.ts'
import type { HttpResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { domainHost, resolveHost } from '../names/resolve-host.ts'
import { readRequestShape } from '../proxy/request-shape.ts'

export interface PlainListenerOptions {
  readonly host: string
  /** 80, unless something before it says otherwise; 0 takes a free one. */
  readonly port: number
  readonly isShared?: boolean
  /** See `ListenOptions`. */
  readonly isBalancer?: ((remoteAddress: string) => boolean) | undefined
  /** Where the gateway is over TLS; undefined while it is not there yet. */
  readonly target: () => PlainTarget | undefined
  /** What an ACME server is to find at `/.well-known/acme-challenge/<token>` (RFC 8555 section 8.3). */
  readonly challenge?: (token: string) => string | undefined
  /** Whether a domain of somebody else is served over TLS; none is by default. */
  readonly hasCertificate?: (host: string) => boolean
}

export interface PlainTarget {
  /** The gateway's host, lower-case, without a port. */
  readonly domain: string
  /** Of the TLS listener as callers see it; empty where that is the scheme's own. */
  readonly port: string
}

/**
 * The listener without TLS: it shows callers the way to the one with TLS, and answers nothing else. Only what a browser may
 * repeat by itself is led there, and only on the gateway's own hosts: whoever else is in the `Host` header, this is no way
 * to send people to them.
 *
 * @throws `port_taken`, `config_invalid`
 */
export function openPlainListener(options: PlainListenerOptions): Promise<HttpListener> {
  return listen({
    ...options,
    onRequest(request, response) {
      try {
        serve(request, response, options)
      } catch (error) {
        sendProblem(response, error)
      }
    },
  })
}

function serve(request: IncomingMessage, response: HttpResponse, options: PlainListenerOptions): void {
  const { method, host, target: path } = readRequestShape(request)
  const [, token] = /^\/\.well-known\/acme-challenge\/([\w-]{1,256})$/.exec(path) ?? []
  const proof = token === undefined ? undefined : options.challenge?.(token)
  if (proof !== undefined) {
    response.writeHead(200, ['content-type', 'text/plain', 'content-length', String(proof.length)])
    response.end(proof)
    return
  }
  const target = options.target()
  if (!target) throw notYet()
  const port = target.port === '' ? '' : `:${target.port}`
  const location = `https://${findHost(host, { ...target, port }, options)}${port}${path}`
  if (method !== 'GET' && method !== 'HEAD') throw insecure()
  response.writeHead(308, ['location', location, 'content-length', '0'])
  response.end()
}

/** The host to go on with: a provider's as it was called, else the gateway's own. @throws `host_unknown` */
function findHost(
  header: string,
  { domain, port }: PlainTarget,
  { hasCertificate }: Pick<PlainListenerOptions, 'hasCertificate'>,
): string {
  const meaning = resolveHost(header, domain)
  const { kind } = meaning
  if (kind === 'foreign' && hasCertificate?.(meaning.host)) return meaning.host
  if (kind === 'malformed' || kind === 'unknown' || kind === 'foreign') {
    throw new ProtocolError('host_unknown', `This gateway does not answer for ${header.slice(0, 100)}.`, {
      hint: `Call https://<provider>.${domain}${port}/<cid>.`,
    })
  }
  // An address in the header is anybody's.
  return kind === 'control' ? domain : domainHost(header)
}

function insecure(): ProtocolError {
  return new ProtocolError('https_required', 'Anybody on the way could read and change this request.', {
    hint: 'Send it to https://, and make new what was secret in it.',
  })
}

function notYet(): ProtocolError {
  return new ProtocolError('https_required', 'The gateway has no certificate yet.', {
    hint: 'Send it again.',
  })
}
