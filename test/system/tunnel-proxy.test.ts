import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type LookupFunction, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { createTunnelGateway, newAccount, openTunnel, until } from '../support/tunnels.ts'

const password = 'hunter2 & more'
const asked = Buffer.from(`jane:${password}`).toString('base64')

/** A proxy of a company: it wants a password, knows names that nobody else does, and writes down what it was asked. */
async function createProxy(portOf: (authority: string) => number | undefined) {
  const seen: { authority: string | undefined; firstBytes: string }[] = []
  const sockets = new Set<Socket>()
  let said = ''
  const server = createServer((_, response) => response.writeHead(405).end())
  server.on('connect', (request, inside: Socket) => {
    sockets.add(inside)
    inside.on('error', () => undefined)
    const port = portOf(request.url ?? '')
    const isKnown = request.headers['proxy-authorization'] === `Basic ${asked}`
    if (!isKnown || port === undefined) {
      inside.end(`HTTP/1.1 ${isKnown ? '403 Forbidden' : '407 Proxy Authentication Required'}\r\n\r\n`)
      return
    }
    const outside = connect(port, '127.0.0.1')
    sockets.add(outside)
    outside.on('error', () => inside.destroy())
    outside.on('connect', () => {
      inside.write('HTTP/1.1 200 Connection established\r\n\r\n')
      inside.once('data', (bytes: Buffer) => {
        seen.push({ authority: request.url, firstBytes: bytes.toString('latin1') })
      })
      inside.on('data', (bytes: Buffer) => {
        said += bytes.toString('latin1')
      })
      inside.pipe(outside).pipe(inside)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    seen,
    /** All that came from inside. */
    said: () => said,
    url: (user = 'jane', word = password) => `http://${user}:${encodeURIComponent(word)}@127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A network in which nothing but the proxy is known. */
const lookup: LookupFunction = (hostname, _options, callback) =>
  callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: 'ENOTFOUND' }), '', 0)

async function setup() {
  await using starting = new AsyncDisposableStack()
  const account = newAccount()
  const gateway = starting.use(
    await createTunnelGateway({
      provider: account.address,
      resolveProvider: async (name) => ({ address: account.address, name }),
      gatewayHost: 'gateway.test',
    }),
  )
  const authorities = ['gateway.test:80', 'gateway.test:443']
  const proxy = starting.use(
    await createProxy((authority) => (authorities.includes(authority) ? gateway.port : undefined)),
  )
  const stack = starting.move()
  return { account, gateway, proxy, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('a tunnel goes through the proxy that the environment names, with its password, which no log ever has', async () => {
  await using at = await setup()
  const log = createTestLog()
  await using tunnel = openTunnel(
    { tunnelUrl: 'ws://gateway.test/_/tunnel' },
    at.account,
    (_, response) => void response.end('through the proxy'),
    { lookup, log, proxyEnv: { HTTP_PROXY: at.proxy.url() } },
  )
  await tunnel.connected
  await until(() => tunnel.status().sockets.length === 2)
  expect(await (await fetch(at.gateway.url)).text()).toBe('through the proxy')
  expect(at.proxy.seen.map(({ authority }) => authority)).toEqual(['gateway.test:80', 'gateway.test:80'])
  // Bytes of a caller's or a provider's choice must not look like HTTP to what stands in between (RFC 6455 section 10.3).
  expect(at.proxy.said()).not.toMatch(/"hello"|through the proxy/)
  // The proxy's password is for the proxy.
  for (const { firstBytes } of at.proxy.seen) expect(firstBytes).not.toMatch(/proxy-auth/i)
  expect(JSON.stringify([log.lines, at.gateway.log.lines])).not.toMatch(/hunter2|jane/)
  expect(JSON.stringify(log.lines)).not.toContain(asked)
})

test.each([
  ['a wrong password', (url: () => string) => url().replace('hunter2', 'hunter3'), '407'],
  ['nobody there', () => 'http://jane:hunter2@127.0.0.1:1', 'ECONNREFUSED'],
])('a proxy with %s is told as what it is, and its password is not', async (_, urlOf, reason) => {
  await using at = await setup()
  const log = createTestLog()
  const failed = Promise.withResolvers<string>()
  await using _tunnel = openTunnel({ tunnelUrl: 'ws://gateway.test/_/tunnel' }, at.account, () => {}, {
    lookup,
    log,
    proxyEnv: { http_proxy: urlOf(at.proxy.url) },
    onFailure: (error) => failed.resolve(`${error.code} ${error.message}`),
  })
  const message = await failed.promise
  expect(message).toContain('tunnel_lost The proxy 127.0.0.1:')
  expect(message).toContain(reason)
  expect(JSON.stringify(log.lines) + message).not.toMatch(/hunter|jane/)
})

test('under wss the proxy sees nothing but the host: TLS begins behind it', async () => {
  await using at = await setup()
  const failed = Promise.withResolvers<void>()
  await using _tunnel = openTunnel({ tunnelUrl: 'wss://gateway.test/_/tunnel' }, at.account, () => {}, {
    lookup,
    sockets: 1,
    proxyEnv: { HTTPS_PROXY: at.proxy.url() },
    // This gateway speaks no TLS.
    onFailure: () => failed.resolve(),
  })
  await failed.promise
  const [first] = at.proxy.seen
  expect(first?.authority).toBe('gateway.test:443')
  // A handshake record (22) of TLS (3.x), with the gateway's name and nothing of the request.
  expect(first?.firstBytes.slice(0, 2)).toBe('\x16\x03')
  expect(first?.firstBytes).toContain('gateway.test')
  expect(first?.firstBytes).not.toContain('/_/tunnel')
})

test('a gateway that NO_PROXY names is dialled directly', async () => {
  await using at = await setup()
  await using tunnel = openTunnel(
    { tunnelUrl: `ws://gateway.test:${at.gateway.port}/_/tunnel` },
    at.account,
    () => {},
    {
      lookup: (_, options, callback) =>
        options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4),
      proxyEnv: { ALL_PROXY: at.proxy.url(), NO_PROXY: 'gateway.test' },
    },
  )
  // By another name than its own, but it was reached.
  await expect(tunnel.connected).rejects.toMatchObject({ code: 'tunnel_refused' })
  expect(at.proxy.seen).toEqual([])
})
