import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { z } from 'zod'
import { readBounded } from '../protocol/base/bytes.ts'
import { limits } from '../protocol/limits.ts'
import { connectThroughProxy } from './connect-through-proxy.ts'
import { findProxy, type ProxyEnv } from './find-proxy.ts'

const listSchema = z.object({ gateways: z.array(z.string().max(512)).max(64) })

/**
 * Asks a gateway which others there are, at `/_/gateways` beside its tunnel.
 *
 * @throws whatever keeps it from answering with a list
 */
export async function readGateways(
  { lookup, proxyEnv }: { readonly lookup: LookupFunction; readonly proxyEnv: ProxyEnv },
  gatewayUrl: URL,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const isSecure = gatewayUrl.protocol === 'wss:'
  const url = new URL('/_/gateways', gatewayUrl)
  url.protocol = isSecure ? 'https:' : 'http:'
  const proxy = findProxy(gatewayUrl, proxyEnv)
  const socket = proxy && (await connectThroughProxy({ proxy, target: gatewayUrl, lookup }, signal))
  const send = isSecure ? httpsRequest : httpRequest
  const bytes = await new Promise<Uint8Array | undefined>((resolve, reject) => {
    const request = send(url, {
      agent: false,
      lookup,
      signal,
      timeout: limits.connectTimeoutMs,
      ...(socket && { createConnection: () => socket }),
    })
    request.on('timeout', () => request.destroy(new Error('The gateway does not answer.')))
    request.on('error', reject)
    request.on('response', (response) => {
      if (response.statusCode === 200) readBounded(response, limits.gatewayListBytesMax).then(resolve, reject)
      else request.destroy(new Error(`The gateway answers ${response.statusCode}.`))
    })
    request.end()
  })
  if (!bytes) throw new Error('The list of gateways is too long.')
  return listSchema.parse(JSON.parse(new TextDecoder().decode(bytes))).gateways
}
