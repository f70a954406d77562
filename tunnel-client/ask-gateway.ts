import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { readBounded } from '../protocol/base/bytes.ts'
import { limits } from '../protocol/limits.ts'
import { connectThroughProxy } from './connect-through-proxy.ts'
import { findProxy, type ProxyEnv } from './find-proxy.ts'

export interface AskDeps {
  readonly lookup: LookupFunction
  readonly proxyEnv: ProxyEnv
}

export interface GatewayQuestion {
  readonly url: URL
  /** Sent as JSON by POST; a GET without it. */
  readonly json?: string
  /** Of the answer. */
  readonly bytesMax: number
}

export interface GatewayAnswer {
  readonly status: number
  readonly body: Uint8Array
}

/**
 * One request to a gateway, the way that tunnels take: through the proxy of the environment, to `*.localhost` on this machine.
 *
 * @throws whatever keeps it from answering, or from answering in `bytesMax`
 */
export async function askGateway(
  { lookup, proxyEnv }: AskDeps,
  { url, json, bytesMax }: GatewayQuestion,
  signal: AbortSignal,
): Promise<GatewayAnswer> {
  const proxy = findProxy(url, proxyEnv)
  const socket = proxy && (await connectThroughProxy({ proxy, target: url, lookup }, signal))
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise<GatewayAnswer>((resolve, reject) => {
    const request = send(url, {
      agent: false,
      lookup,
      signal,
      timeout: limits.connectTimeoutMs,
      ...(json !== undefined && {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) },
      }),
      ...(socket && { createConnection: () => socket }),
    })
    request.on('timeout', () => request.destroy(new Error('The gateway does not answer.')))
    request.on('error', reject)
    request.on('response', (response) => {
      readBounded(response, bytesMax).then((body) => {
        if (body) resolve({ status: response.statusCode ?? 0, body })
        else reject(new Error(`The gateway answers with more than ${bytesMax} bytes.`))
      }, reject)
    })
    request.end(json)
  })
}
