import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'

/**
 * Opens a connection to a gateway through an HTTP proxy (CONNECT, RFC 9110 section 9.3.6), under TLS to the gateway where
 * its URL says so: the proxy sees the host and nothing else. Its user and password go to the proxy and nowhere else.
 *
 * @throws ProtocolError `tunnel_lost` with what the proxy said
 */
export async function connectThroughProxy(
  { proxy, target, lookup }: { proxy: URL; target: URL; lookup: LookupFunction },
  signal: AbortSignal,
): Promise<Socket> {
  const isSecure = target.protocol === 'wss:' || target.protocol === 'https:'
  const hostname = target.hostname.replace(/^\[|\]$/g, '')
  const authority = `${target.hostname}:${target.port || (isSecure ? 443 : 80)}`
  const socket = await openTunnel({ proxy, authority, lookup }, signal)
  if (!isSecure) return socket
  return connectTls({ socket, ...(isIP(hostname) === 0 && { servername: hostname }) })
}

function openTunnel(
  { proxy, authority, lookup }: { proxy: URL; authority: string; lookup: LookupFunction },
  signal: AbortSignal,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const open = proxy.protocol === 'https:' ? httpsRequest : httpRequest
  const sent = open({
    method: 'CONNECT',
    host: proxy.hostname.replace(/^\[|\]$/g, ''),
    port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
    path: authority,
    headers: { host: authority, ...authorization(proxy) },
    agent: false,
    lookup,
    timeout: limits.connectTimeoutMs,
    maxHeaderSize: limits.headerBytesMax,
    signal,
  })
  sent.on('connect', (answer, socket: Socket, head) => {
    if (answer.statusCode !== 200) {
      socket.destroy()
      reject(refused(proxy, `answers ${answer.statusCode}`))
      return
    }
    socket.setNoDelay(true)
    if (head.length > 0) socket.unshift(head)
    resolve(socket)
  })
  sent.on('response', (answer) => {
    answer.destroy()
    reject(refused(proxy, `answers ${answer.statusCode}`))
  })
  sent.on('timeout', () => sent.destroy(new Error('it does not answer')))
  sent.on('error', (error) => reject(refused(proxy, `cannot be used: ${error.message}`)))
  sent.end()
  return promise
}

function authorization({ username, password }: URL): { 'proxy-authorization'?: string } {
  if (username === '' && password === '') return {}
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` }
}

function refused(proxy: URL, what: string): ProtocolError {
  return new ProtocolError('tunnel_lost', `The proxy ${proxy.host} ${what}.`, {
    hint: 'It is tried again. Check HTTPS_PROXY and HTTP_PROXY, and what the proxy lets through; NO_PROXY spares hosts.',
  })
}
