import type { IncomingHttpHeaders } from 'node:http'
import { callHeaders } from '../../protocol/call.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { swarmHeaders } from '../../protocol/swarm/ballot.ts'

/** Leave for the gateway's own dashboard to read the answer of a swarm in a browser (Fetch standard, "CORS protocol"). */
export interface PageAccess {
  /** The browser asks whether it may, and does not call yet. */
  readonly isPreflight: boolean
  /** In place of what the program says of this. */
  readonly rawHeaders: RawHeaders
}

/**
 * Swarms are asked for by a header, which no page can send to another host unasked. Only the gateway's own may, so programs see no such
 * preflight of any other page but as ever.
 *
 * @param origin - Of the gateway's own pages.
 * @returns undefined for every other request
 */
export function readPageAccess(
  { method, headers }: { readonly method?: string | undefined; readonly headers: IncomingHttpHeaders },
  origin: string,
): PageAccess | undefined {
  if (headers.origin !== origin) return undefined
  const allowOrigin = ['access-control-allow-origin', origin, 'vary', 'origin']
  const wanted = headers['access-control-request-headers']
  if (method === 'OPTIONS' && wanted !== undefined) {
    const names = wanted.split(',').map((name) => name.trim().toLowerCase())
    if (!names.includes(swarmHeaders.swarm)) return undefined
    return {
      isPreflight: true,
      rawHeaders: [
        ...allowOrigin,
        ...['access-control-allow-methods', 'GET, HEAD, POST, PUT, PATCH, DELETE'],
        ...['access-control-allow-headers', `authorization, content-type, ${swarmHeaders.swarm}`],
        ...['access-control-max-age', '600'],
      ],
    }
  }
  if (headers[swarmHeaders.swarm] === undefined) return undefined
  const shown = [swarmHeaders.swarm, swarmHeaders.verdict, callHeaders.call, gatewayHeaders.provider]
  return {
    isPreflight: false,
    rawHeaders: [...allowOrigin, 'access-control-expose-headers', shown.join(', ')],
  }
}
