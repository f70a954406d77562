import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingHttpHeaders as H1Headers } from 'node:http'
import { connect as connectH2, type IncomingHttpHeaders } from 'node:http2'
import { buffer } from 'node:stream/consumers'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createGateway } from '../../gateway/gateway.ts'
import { createTunnelHub } from '../../gateway/tunnels/tunnel-hub.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { TlsIdentity } from '../../protocol/http/secure-server.ts'
import { parseName } from '../../protocol/name.ts'
import { type GatewayFront, openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'
import { createTestAuthority } from '../support/tls.ts'
import { domain, newAccount, openTunnel } from '../support/tunnels.ts'

let ca: string
let identity: TlsIdentity
const trusted = getCACertificates('default')
beforeAll(async () => {
  const authority = await createTestAuthority()
  ca = authority.ca
  const pair = await authority.sign('localhost', 'alice.localhost', '*.market.localhost', 'market.localhost')
  identity = { ...pair, ticketKeys: randomBytes(48) }
  // What NODE_EXTRA_CA_CERTS does for a process.
  setDefaultCACertificates([...trusted, ca])
})
afterAll(() => setDefaultCACertificates(trusted))

function openCaller({ gateway }: Pick<GatewayFront, 'gateway'>) {
  const session = connectH2(`https://127.0.0.1:${gateway.port}`, { ca, servername: 'market.localhost' })
  session.on('error', () => undefined)
  return {
    session,
    async ask(host: string, headers: Record<string, string | string[]> = {}, body?: Buffer) {
      const stream = session.request({ ':authority': host, ':path': '/', ...headers }, { endStream: !body })
      stream.end(body)
      const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }]
      const bytes = await buffer(stream)
      const isProblem = head['content-type'] === 'application/problem+json'
      return {
        status: head[':status'],
        head,
        body: bytes,
        code: isProblem ? JSON.parse(bytes.toString()).code : undefined,
      }
    },
    [Symbol.dispose]: () => session.destroy(),
  }
}

const alice = 'alice.market.localhost'
const market = { domain: 'market.localhost' }

test('a call over HTTP/2 reaches a provider that speaks HTTP/1.1, under the rules of every call', async () => {
  const seen: { headers: H1Headers; method: string | undefined; bytes: number }[] = []
  await using provider = await openOrigin(async (request, response) => {
    const bytes = (await buffer(request)).length
    seen.push({ headers: request.headers, method: request.method, bytes })
    response.writeHead(200, {
      'strict-transport-security': 'max-age=0; includeSubDomains',
      'keep-alive': 'timeout=1',
    })
    response.end('hello')
  })
  await using front = await openGatewayFront({ alice: provider.url }, { ...market, tls: identity })
  using caller = openCaller(front)
  const body = randomBytes(3 * 1024 * 1024)
  const spoofed = {
    'x-forwarded-for': '6.6.6.6',
    'x-forwarded-proto': 'http',
    te: 'trailers',
    cookie: ['a=1', 'b=2'],
  }
  const answer = await caller.ask(alice, { ':method': 'POST', ...spoofed }, body)
  expect(answer).toMatchObject({ status: 200, body: Buffer.from('hello') })
  expect(seen[0]).toMatchObject({
    method: 'POST',
    bytes: body.length,
    headers: {
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': alice,
      cookie: 'a=1; b=2',
    },
  })
  expect(seen[0]?.headers).not.toHaveProperty('te')
  expect(answer.head).not.toHaveProperty('keep-alive')
  expect(answer.head['via']).toMatch(/market\.localhost/)
  const sized = await caller.ask(alice, { ':method': 'PUT', 'content-length': '4' }, Buffer.from('four'))
  expect([sized.status, seen[1]?.headers['content-length']]).toEqual([200, '4'])
  expect((await caller.ask(alice, { ':method': 'HEAD' })).body.length).toBe(0)
})

test.each([
  ['two hosts', { ':authority': alice, host: 'bob.market.localhost' }, 400, 'bad_request'],
  ['no host of ours', { ':authority': 'evil.example' }, 421, 'host_unknown'],
  ['TRACE', { ':method': 'TRACE' }, 405, 'method_not_allowed'],
  ['a path that is too long', { ':path': `/${'x'.repeat(17_000)}` }, 431, 'headers_too_large'],
])('over HTTP/2, %s is refused as everywhere', async (_, headers, status, code) => {
  await using front = await openGatewayFront({ alice: 'http://127.0.0.1:1' }, { ...market, tls: identity })
  using caller = openCaller(front)
  expect(await caller.ask(alice, headers)).toMatchObject({ status, code })
})

test.each([
  ['a user in the host', { ':authority': 'a@market.localhost' }],
  ['a path that is a URL', { ':path': 'http://evil.example/' }],
  ['no path', { ':path': '' }],
])('over HTTP/2, %s is no request at all', async (_, headers) => {
  await using front = await openGatewayFront({ alice: 'http://127.0.0.1:1' }, { ...market, tls: identity })
  using caller = openCaller(front)
  await expect(caller.ask(alice, headers)).rejects.toThrow('NGHTTP2_PROTOCOL_ERROR')
})

test('pages and problems of the gateway are the same over HTTP/2', async () => {
  await using front = await openGatewayFront({}, { ...market, tls: identity })
  using caller = openCaller(front)
  const info = await caller.ask('market.localhost', { ':path': '/_/info' })
  expect(JSON.parse(info.body.toString())).toMatchObject({
    keeper: 'https://market.localhost/',
    tunnel: 'wss://market.localhost/_/tunnel',
  })
  expect(await caller.ask('market.localhost', { ':path': '/nothing' })).toMatchObject({
    status: 404,
    code: 'not_found',
  })
  expect(await caller.ask('nobody.market.localhost')).toMatchObject({ status: 404, code: 'provider_unknown' })
})

test('browsers are told to stay on https, by the gateway alone, and never for localhost', async () => {
  await using provider = await openOrigin((_, response) => {
    response.writeHead(200, { 'strict-transport-security': 'max-age=0' })
    response.end()
  })
  const ask = async (host: string, path: string, options: object) => {
    await using front = await openGatewayFront({ alice: provider.url }, { tls: identity, ...options })
    using caller = openCaller(front)
    return (await caller.ask(host, { ':path': path })).head['strict-transport-security']
  }
  const real = { domain: 'market.example' }
  expect(await ask('alice.market.example', '/', real)).toBe('max-age=31536000')
  expect(await ask('market.example', '/healthz', real)).toBe('max-age=31536000')
  expect(await ask('market.example', '/healthz', { ...real, hstsSeconds: 0 })).toBe(undefined)
  expect(await ask(alice, '/', market)).toBe('max-age=0')
  expect(await ask('market.localhost', '/healthz', market)).toBe(undefined)
})

test('a provider at home dials wss:// on the same port, and callers reach it over HTTP/2', async () => {
  const account = newAccount()
  const name = parseName('alice')
  const record = {
    kind: 'provider' as const,
    name,
    owner: account.address,
    resolver: account.address,
    address: account.address,
    server: 'wss://localhost/_/tunnel',
    publicKey: new Uint8Array(),
    blockNumber: 1n,
  }
  const log = createTestLog()
  await using gateway = await createGateway(
    {
      clock: systemClock,
      log,
      names: {
        readName: async (wanted) => (wanted === name ? record : undefined),
        watchNames: () => ({ [Symbol.asyncDispose]: async () => undefined }),
      },
      openTunnels: (facts) => createTunnelHub({ clock: systemClock, log, domain, ...facts }),
    },
    {
      host: '127.0.0.1',
      port: 0,
      tls: identity,
      shutdownTimeoutMs: 2_000,
      info: {
        chainId: 31_337,
        escrow: account.address,
        registry: account.address,
        usdc: account.address,
        peers: [],
        version: '0.0.0',
      },
    },
  )
  expect(gateway.info.tunnel).toBe(`wss://localhost:${gateway.port}/_/tunnel`)
  await using tunnel = openTunnel({ tunnelUrl: gateway.info.tunnel }, account, (request, response) => {
    response.writeHead(200, ['x-proto', String(request.headers['x-forwarded-proto'])])
    request.pipe(response)
  })
  await tunnel.connected
  using caller = openCaller({ gateway })
  const body = randomBytes(1024 * 1024)
  const answers = await Promise.all(
    Array.from({ length: 8 }, () =>
      caller.ask(`alice.localhost:${gateway.port}`, { ':method': 'POST' }, body),
    ),
  )
  for (const answer of answers) {
    expect([answer.status, answer.head['x-proto'], answer.body.equals(body)]).toEqual([200, 'https', true])
  }
})
