import { request } from 'node:http'
import { readBounded } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { DevMarket } from '../market.ts'

/**
 * `fetch` for the subdomains of this gateway. Node does not look up subdomains of localhost, so the gateway is dialled by
 * its address, as curl and browsers do. For calls that are small both ways.
 */
export function createGatewayFetch({ gateway }: DevMarket, signal: AbortSignal): typeof fetch {
  return async (input, init) => {
    const wanted = new Request(input, init)
    const body = Buffer.from(await wanted.arrayBuffer())
    const { host, pathname, search } = new URL(wanted.url)
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: gateway.host,
          port: gateway.port,
          method: wanted.method,
          path: `${pathname}${search}`,
          headers: { ...Object.fromEntries(wanted.headers), host },
          signal,
        },
        (response) => {
          readBounded(response, limits.problemBytesMax).then((bytes) => {
            if (!bytes) return reject(tooLong(wanted.url))
            const headers = new Headers()
            for (const [name, values] of Object.entries(response.headersDistinct))
              for (const value of values ?? []) headers.append(name, value)
            resolve(new Response(Buffer.from(bytes), { status: response.statusCode ?? 0, headers }))
          }, reject)
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }
}

const tooLong = (url: string) =>
  new ProtocolError('internal', `The answer of ${url} has more than ${limits.problemBytesMax} bytes.`, {
    hint: 'Demonstrations are small: see devnet/demonstration/.',
  })
