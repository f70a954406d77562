import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect as connectH2 } from 'node:http2'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { formatContenthash } from '../protocol/ipfs/contenthash.ts'
import { limits } from '../protocol/limits.ts'
import { accountOf, type GatewayFront, openGatewayFront } from '../test/support/gateway-front.ts'
import { openOrigin } from '../test/support/http-origin.ts'
import { createTestAuthority } from '../test/support/tls.ts'
import { type FrontRules, frontRulesDefault } from './limits/front-rules.ts'

const alice = 'alice.localhost'
const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

/** Rules for strangers that hold for this machine, too. */
function rulesOf({
  limits,
  ...rest
}: Partial<Omit<FrontRules, 'limits'>> & { limits?: Partial<FrontRules['limits']> } = {}): FrontRules {
  return { ...frontRulesDefault, ...rest, limits: { ...frontRulesDefault.limits, exempt: [], ...limits } }
}

const quota = (requests: number) => ({ requests, windowSeconds: 60 })
const from = (address: string) => ({ 'x-forwarded-for': address })

test('a client that asks too often is told so and when to come back; others are served meanwhile', async () => {
  await using provider = await openOrigin((request, response) =>
    response.end(request.headers['x-forwarded-for']),
  )
  const rules = rulesOf({ limits: { client: quota(3) }, trustedProxies: ['127.0.0.1'] })
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const ask = (address: string) => front.ask(alice, { headers: from(address) })
  const first = await ask('192.0.2.1')
  expect(first.body.toString()).toBe('192.0.2.1')
  expect(first.headers).toMatchObject({
    'ratelimit-policy': '"client";q=3;w=60',
    ratelimit: '"client";r=2;t=20',
  })
  await ask('192.0.2.1')
  await ask('192.0.2.1')
  const refused = await ask('192.0.2.1')
  expect(refused).toMatchObject({ status: 429, code: 'too_many_requests' })
  expect(refused.headers).toMatchObject({ 'retry-after': '20', ratelimit: '"client";r=0;t=60' })
  expect(provider.requests()).toBe(3)
  expect((await ask('192.0.2.2')).status).toBe(200)
  // Hosts of one /64 are one client.
  for (const host of ['1', '2', '3']) expect((await ask(`2001:bd8:0:1::${host}`)).status).toBe(200)
  expect((await ask('2001:bd8:0:1::4')).status).toBe(429)
  expect((await ask('2001:bd8:0:2::1')).status).toBe(200)

  await front.clock.advance(20_000)
  expect((await ask('192.0.2.1')).status).toBe(200)
  expect((await ask('192.0.2.1')).status).toBe(429)
})

test("whose X-Forwarded-For is not believed counts for itself, and pages of the gateway's own count, too", async () => {
  await using front = await openGatewayFront({}, { rules: rulesOf({ limits: { client: quota(2) } }) })
  expect((await front.ask('localhost', { path: '/_/info', headers: from('192.0.2.1') })).status).toBe(200)
  expect((await front.ask(alice, { headers: from('192.0.2.2') })).code).toBe('provider_unknown')
  const refused = await front.ask('localhost', { path: '/_/info', headers: from('192.0.2.3') })
  expect(refused.code).toBe('too_many_requests')
})

test("tunnels count for those who open them, and not for a proxy of the operator's before the gateway", async () => {
  const dial = (address: string) =>
    `GET /_/tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Forwarded-For: ${address}\r\n\r\n`
  await using front = await openGatewayFront({}, { rules: rulesOf({ trustedProxies: ['127.0.0.1'] }) })
  expect(await front.sendRaw(dial('192.0.2.1'))).toContain('x-client: 192.0.2.1\r\n')
  await using open = await openGatewayFront({}, { rules: rulesOf() })
  expect(await open.sendRaw(dial('192.0.2.1'))).toContain('x-client: 127.0.0.1\r\n')
})

test('whom a load balancer names in front of a connection has the limits of its own, and the provider hears of it', async () => {
  await using provider = await openOrigin((request, response) =>
    response.end(request.headers['x-forwarded-for']),
  )
  const rules = rulesOf({ limits: { client: quota(1) } })
  await using front = await openGatewayFront({ alice: provider.url }, { rules, balancers: ['127.0.0.0/8'] })
  const ask = (address: string) =>
    front.sendRaw(
      `PROXY TCP4 ${address} 10.0.0.1 4000 80\r\nGET /${cid} HTTP/1.1\r\nHost: ${alice}\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n`,
    )
  expect(await ask('192.0.2.1')).toMatch(/^HTTP\/1\.1 200[\s\S]*192\.0\.2\.1$/)
  expect(await ask('192.0.2.1')).toMatch(/^HTTP\/1\.1 429/)
  expect(await ask('192.0.2.2')).toMatch(/^HTTP\/1\.1 200/)
})

test('a proxy on this machine that nobody named is told to the operator, once', async () => {
  await using front = await openGatewayFront()
  await front.ask('localhost', { path: '/healthz' })
  const told = () => front.log.lines.filter(({ event }) => event === 'proxy_untrusted')
  expect(told()).toEqual([])
  for (const n of [1, 2]) await front.ask('localhost', { path: '/healthz', headers: from(`192.0.2.${n}`) })
  expect(told()).toMatchObject([{ level: 'warn', facts: { proxy: '127.0.0.1' } }])
})

test('calls that an owner pays for are bounded for each client and deployment; who pays is not held to that', async () => {
  // As a provider does: a pass counts where the deployment lets callers pay.
  await using provider = await openOrigin((request, response) => {
    const isOwners = request.url?.includes('owner-only') || request.headers.authorization === undefined
    response.setHeader('khachapuri-payer', isOwners ? 'owner' : 'pass')
    response.end('ok')
  })
  const rules = rulesOf({ limits: { ownerPaid: quota(2) } })
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const pass = { authorization: 'Bearer kp1.AAAA.BBBB' }
  const ask = async (path: string, headers = {}) => (await front.ask(alice, { path, headers })).status

  expect([await ask(`/${cid}/a`), await ask(`/${cid}?b`), await ask(`/${cid}`)]).toEqual([200, 200, 429])
  expect(await ask(`/${CID.parse(cid).toString(base36)}/`)).toBe(429)
  const refused = await front.ask(alice, {
    path: `/${cid}/`,
    headers: { authorization: 'Bearer of something else' },
  })
  expect(JSON.parse(refused.body.toString())).toMatchObject({ limit: 'owner-paid', retryAfterSeconds: 30 })
  for (let n = 0; n < 5; n++) expect(await ask(`/${cid}/`, pass)).toBe(200)
  expect(await ask('/_/info')).toBe(200)

  const other = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
  const statuses: number[] = []
  for (let n = 0; n < 4; n++) statuses.push(await ask(`/${other}/owner-only`, pass))
  expect(statuses).toEqual([200, 200, 429, 429])
})

test('whom no limit holds for may send a body as slowly as it likes', async () => {
  const begun = Promise.withResolvers<void>()
  await using provider = await openOrigin((request, response) => {
    request.once('data', () => begun.resolve()).on('end', () => response.end('whole'))
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const request = front.send(alice, { method: 'POST', path: `/${cid}` })
  request.write('a')
  await begun.promise
  await front.clock.advance(10 * limits.bodyPaceWindowMs)
  request.end('b')
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  expect(await text(response)).toBe('whole')
})

test('a body that comes with a byte now and then is given up, over HTTP/1.1 and HTTP/2, and its provider hears of it', async () => {
  const begun: PromiseWithResolvers<IncomingMessage>[] = []
  await using provider = await openOrigin((request, response) => {
    if (request.method === 'GET') response.end('well')
    else request.once('data', () => begun.shift()?.resolve(request))
  })
  const authority = await createTestAuthority()
  const tls = { ...(await authority.sign('localhost', '*.localhost')), ticketKeys: randomBytes(48) }
  const rules = rulesOf()
  await using plain = await openGatewayFront({ alice: provider.url }, { rules })
  await using secure = await openGatewayFront({ alice: provider.url }, { rules, tls })

  /** @returns what the provider had, once it has been given up */
  const wait = async ({ clock }: GatewayFront, start: () => void) => {
    begun.push(Promise.withResolvers())
    const atProvider = begun[0]?.promise
    start()
    const request = await atProvider
    const closed = new Promise((resolve) => request?.on('error', () => undefined).once('close', resolve))
    await clock.advance(limits.bodyPaceWindowMs + 2_000)
    await closed
    return request?.complete
  }
  const socket = connect(plain.gateway.port, plain.gateway.host)
  const answer = text(socket)
  const head = `POST /${cid} HTTP/1.1\r\nHost: ${alice}\r\nContent-Length: 100000\r\n\r\na`
  expect(await wait(plain, () => void socket.write(head))).toBe(false)
  expect(await answer).toMatch(/^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*"code":"body_too_slow"/i)

  const session = connectH2(`https://127.0.0.1:${secure.gateway.port}`, {
    ca: authority.ca,
    servername: 'localhost',
  })
  const slow = session.request({ ':method': 'POST', ':path': `/${cid}`, ':authority': alice })
  slow.on('error', () => undefined)
  const slowAnswer = once(slow, 'response')
  let said = ''
  slow.setEncoding('utf8').on('data', (part: string) => {
    said += part
  })
  const slowClosed = new Promise((resolve) => slow.once('close', resolve))
  expect(await wait(secure, () => void slow.write('a'))).toBe(false)
  expect((await slowAnswer)[0][':status']).toBe(408)
  await slowClosed
  expect(said).toContain('"code":"body_too_slow"')
  // The connection goes on.
  const other = session.request({ ':path': `/${cid}`, ':authority': alice })
  expect(await text(other)).toBe('well')
  session.close()
})

test('providers and deployments can be given a bound for all of their callers', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  const rules = rulesOf({
    limits: { provider: quota(4), deployment: quota(2) },
    trustedProxies: ['127.0.0.1'],
  })
  await using front = await openGatewayFront({ alice: provider.url, bob: provider.url }, { rules })
  const ask = async (host: string, path: string, client: number) =>
    JSON.parse(
      (await front.ask(host, { path, headers: from(`192.0.2.${client}`) })).body
        .toString()
        .replace('ok', '{}'),
    ).limit
  expect(await ask(alice, `/${cid}/`, 1)).toBeUndefined()
  expect(await ask(alice, `/${cid}/`, 2)).toBeUndefined()
  expect(await ask(alice, `/${cid}/`, 3)).toBe('deployment')
  expect(await ask(alice, '/', 4)).toBeUndefined()
  expect(await ask(alice, '/', 5)).toBe('provider')
  expect(await ask('bob.localhost', '/', 5)).toBeUndefined()
})

test('what the operator denies is refused with its code, from the moment that the rules change', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  await using front = await openGatewayFront(
    { alice: provider.url, bob: provider.url, carol: provider.url },
    { rules: { ...frontRulesDefault, trustedProxies: ['127.0.0.1'] } },
  )
  const { guard } = front.gateway
  const codes = async () => {
    const path = `/${CID.parse(cid).toString(base36)}/x`
    const answers = [
      await front.ask(alice, { path }),
      await front.ask(alice),
      await front.ask('bob.localhost'),
      await front.ask('carol.localhost'),
      await front.ask(alice, { headers: from('198.51.100.7') }),
      await front.ask('localhost', { path: '/_/info', headers: from('198.51.100.7') }),
    ]
    return answers.map(({ status, code }) => code ?? status)
  }
  expect(await codes()).toEqual([200, 200, 200, 200, 200, 200])
  const deny = {
    cids: [cid],
    providers: ['bob', accountOf('carol').toLowerCase()],
    clients: ['198.51.100.0/24'],
  }
  guard.change({ ...guard.rules, deny })
  expect(await codes()).toEqual([
    'blocked_by_gateway',
    200,
    'blocked_by_gateway',
    'blocked_by_gateway',
    'client_blocked',
    'client_blocked',
  ])
  expect((await front.ask('bob.localhost')).status).toBe(451)
  expect(guard.denied.hasContent(CID.parse(cid))).toBe(true)
  guard.change(frontRulesDefault)
  expect((await codes()).slice(0, 4)).toEqual([200, 200, 200, 200])
})

test('a provider that is denied is none of several either', async () => {
  await using a = await openOrigin((_, response) =>
    response.setHeader('khachapuri-call', '0x01').end('alice'),
  )
  await using b = await openOrigin((_, response) => response.setHeader('khachapuri-call', '0x01').end('bob'))
  await using front = await openGatewayFront({ alice: a.url, bob: b.url })
  front.deployments.set('thumbs', {
    contenthash: formatContenthash(CID.parse(cid) as Parameters<typeof formatContenthash>[0]),
    providers: 'alice,bob',
  })
  const { guard } = front.gateway
  guard.change({ ...guard.rules, deny: { ...guard.rules.deny, providers: ['bob'] } })
  for (let n = 0; n < 20; n++) expect((await front.ask('thumbs.localhost')).body.toString()).toBe('alice')
  guard.change({ ...guard.rules, deny: { ...guard.rules.deny, providers: ['alice', 'bob'] } })
  expect((await front.ask('thumbs.localhost')).status).toBeGreaterThanOrEqual(400)
  expect([a.requests(), b.requests()]).toEqual([20, 0])
})

test('a client that is denied is told so, and not only cut off', async () => {
  const deny = { ...frontRulesDefault.deny, clients: ['127.0.0.0/8'] }
  await using front = await openGatewayFront({}, { rules: rulesOf({ deny }) })
  expect(await front.ask('localhost', { path: '/_/info' })).toMatchObject({
    status: 403,
    code: 'client_blocked',
  })
})

test('a client has only so many requests in flight, and gets its places back', async () => {
  const held = Promise.withResolvers<() => void>()
  await using provider = await openOrigin((request, response) => {
    if (request.url === '/held') held.resolve(() => response.end())
    else response.end()
  })
  const rules = rulesOf({ limits: { requestsPerClientMax: 1 } })
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const slow = front.ask(alice, { path: '/held' })
  const finish = await held.promise
  const refused = await front.ask(alice)
  expect(JSON.parse(refused.body.toString())).toMatchObject({ limit: 'in-flight', retryAfterSeconds: 1 })
  finish()
  await slow
  const left = front.send(alice, { path: '/' })
  left.on('error', () => undefined)
  left.destroy()
  await expect.poll(async () => (await front.ask(alice)).status).toBe(200)
})

/** Connections that say nothing. */
async function crowd(front: GatewayFront, count: number) {
  const sockets = Array.from({ length: count }, () => connect(front.gateway.port, front.gateway.host))
  for (const socket of sockets) socket.on('error', () => undefined)
  await Promise.all(sockets.map((socket) => Promise.race([once(socket, 'connect'), once(socket, 'close')])))
  return sockets
}

test('a client that keeps all requests that it may have waiting keeps nobody else from the provider', async () => {
  let held = 0
  await using provider = await openOrigin((request, response) => {
    if (request.url === '/held') held++
    else response.end('served')
  })
  const rules = rulesOf({ trustedProxies: ['127.0.0.1'] })
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const { requestsPerClientMax } = rules.limits
  const waiting = Array.from({ length: requestsPerClientMax }, () =>
    front
      .send(alice, { path: '/held', headers: from('192.0.2.1') })
      .on('error', () => undefined)
      .end(),
  )
  await expect.poll(() => held).toBe(requestsPerClientMax)
  expect((await front.ask(alice, { headers: from('192.0.2.1') })).status).toBe(429)
  expect((await front.ask(alice, { headers: from('192.0.2.2') })).body.toString()).toBe('served')
  for (const request of waiting) request.destroy()
})

test('a client has only so many connections, those that say nothing included', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  const rules = rulesOf({ limits: { connectionsPerClientMax: 10 } })
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const sockets = await crowd(front, 30)
  await expect.poll(() => sockets.filter(({ closed }) => closed).length).toBe(20)
  front.gateway.guard.change(frontRulesDefault)
  expect((await front.ask(alice)).status).toBe(200)
  front.gateway.guard.change(rules)
  for (const socket of sockets) socket.destroy()
  await expect.poll(() => front.ask(alice).catch(() => undefined)).toMatchObject({ status: 200 })
})

test("a proxy of the operator's has as many connections as it wants: whose each of them is, its requests say", async () => {
  const rules = rulesOf({ limits: { connectionsPerClientMax: 2 }, trustedProxies: ['127.0.0.1'] })
  await using front = await openGatewayFront({}, { rules })
  const sockets = await crowd(front, 10)
  expect((await front.ask('localhost', { path: '/healthz', headers: from('192.0.2.1') })).status).toBe(200)
  expect(sockets.filter(({ closed }) => closed)).toEqual([])
  for (const socket of sockets) socket.destroy()
})

test('strangers find whom to write to, where the operator has said it', async () => {
  await using front = await openGatewayFront()
  const ask = (path: string, headers = {}) => front.ask('localhost', { path, headers })
  expect(await ask('/.well-known/security.txt')).toMatchObject({ status: 404, code: 'not_found' })
  expect(JSON.parse((await ask('/_/abuse')).body.toString())).toMatchObject({ contact: null })
  const { guard } = front.gateway
  guard.change({
    ...guard.rules,
    abuse: { contact: 'mailto:abuse@market.example', policy: 'https://market.example/blocked' },
  })
  expect(
    (await ask('/.well-known/security.txt')).body.toString().replace(/:\d+\//, ':<port>/'),
  ).toMatchInlineSnapshot(`
    "Contact: mailto:abuse@market.example
    Expires: 2024-02-12T22:13:20.000Z
    Preferred-Languages: en
    Canonical: http://localhost:<port>/.well-known/security.txt
    Policy: https://market.example/blocked
    "
  `)
  const page = await ask('/_/abuse', { accept: 'text/html' })
  expect(page.headers['content-type']).toContain('text/html')
  expect(page.body.toString()).toContain('href="mailto:abuse@market.example"')
})
