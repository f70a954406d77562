import { once } from 'node:events'
import { Agent, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { ProtocolError } from '../protocol/errors.ts'
import { createHttpPool } from '../protocol/http/h1-client.ts'
import { accountOf, openGatewayFront } from '../test/support/gateway-front.ts'
import { openOrigin, openRawOrigin } from '../test/support/http-origin.ts'

const alice = 'alice.localhost'

test('every method and body passes byte for byte, with its path, query and repeated headers', async () => {
  await using provider = await openOrigin(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    response.writeHead(207, [
      'X-Seen',
      `${request.method} ${request.url}`,
      'Set-Cookie',
      'a=1',
      'set-cookie',
      'b=2',
    ])
    response.end(Buffer.concat(parts))
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const body = Buffer.from(Array.from({ length: 1024 * 1024 }, (_, i) => (i * 31 + (i >> 8)) & 255))
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'GET', 'PROPFIND']) {
    const framing = method === 'PUT' ? { 'content-length': body.length } : { 'transfer-encoding': 'chunked' }
    const answer = await front.ask(alice, { method, path: '/a%20b/../c?d=e&d=f', body, headers: framing })
    expect(answer.status).toBe(207)
    expect(answer.headers['x-seen']).toBe(`${method} /a%20b/../c?d=e&d=f`)
    expect(answer.body.equals(body)).toBe(true)
    expect(answer.headers['set-cookie']).toEqual(['a=1', 'b=2'])
    expect(answer.rawHeaders).toContain('X-Seen')
  }
  const head = await front.ask(alice, { method: 'HEAD' })
  expect(head.status).toBe(207)
  expect(head.body.length).toBe(0)
})

test('a thousand calls cost one reading of the name', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  await using front = await openGatewayFront({ alice: provider.url })
  for (let round = 0; round < 20; round++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => front.ask(alice)))
    expect(answers.every(({ status }) => status === 200)).toBe(true)
  }
  expect(provider.requests()).toBe(1000)
  expect(front.reads()).toBe(1)
})

test('hosts that mean nobody are refused, each in its own way', async () => {
  await using front = await openGatewayFront()
  expect(await front.ask('nobody.localhost')).toMatchObject({ status: 404, code: 'provider_unknown' })
  expect(await front.ask('a_b.localhost')).toMatchObject({ status: 400, code: 'name_malformed' })
  expect(await front.ask('example.org')).toMatchObject({ status: 421, code: 'host_unknown' })
  const { hint } = JSON.parse((await front.ask('a_b.localhost')).body.toString())
  expect(hint).toBe(`Call http://<provider>.localhost:${front.gateway.port}/<cid>.`)
  expect(JSON.parse((await front.ask('nobody.localhost')).body.toString())).toMatchInlineSnapshot(`
    {
      "code": "provider_unknown",
      "detail": "No provider has the name nobody.",
      "hint": "Check the first part of the host; the page of the gateway lists the providers it knows.",
      "provider": "nobody",
      "retryable": false,
      "status": 404,
      "title": "provider unknown",
      "type": "urn:khachapuri:problem:provider_unknown",
    }
  `)
})

test('the provider hears the truth about the caller, the caller gets the request id', async () => {
  const seen = Promise.withResolvers<IncomingMessage['headers']>()
  await using provider = await openOrigin((request, response) => {
    seen.resolve(request.headers)
    response.end()
  })
  await using front = await openGatewayFront({ alice: provider.url }, { publicUrl: 'https://gw.example' })
  const headers = {
    'x-forwarded-for': '6.6.6.6',
    'x-forwarded-host': 'evil',
    'x-request-id': 'mine-1',
    te: 'trailers',
  }
  const answer = await front.ask(alice, { headers })
  expect(answer.headers['x-request-id']).toBe('mine-1')
  expect(await seen.promise).toMatchObject({
    host: provider.url.slice('http://'.length),
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-host': alice,
    'x-forwarded-proto': 'https',
    'x-request-id': 'mine-1',
  })
  expect(await seen.promise).not.toHaveProperty('te')
})

test('nothing is followed and nothing decoded', async () => {
  await using provider = await openOrigin((request, response) => {
    if (request.url === '/zip') response.writeHead(200, { 'content-encoding': 'gzip' }).end('not gzip at all')
    else response.writeHead(302, { location: 'http://127.0.0.1/meta' }).end()
  })
  await using front = await openGatewayFront({ alice: provider.url })
  expect(await front.ask(alice)).toMatchObject({
    status: 302,
    headers: { location: 'http://127.0.0.1/meta' },
  })
  const zipped = await front.ask(alice, { path: '/zip' })
  expect(zipped.body.toString()).toBe('not gzip at all')
  expect(zipped.headers['content-encoding']).toBe('gzip')
})

test('the head of a silent stream and each of its events arrive as they are sent', async () => {
  const held = Promise.withResolvers<(text?: string) => void>()
  await using provider = await openOrigin((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    held.resolve((line) => void (line === undefined ? response.end() : response.write(line)))
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const request = front.send(alice).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const say = await held.promise
  for (const line of ['data: 1\n\n', 'data: 2\n\n']) {
    say(line)
    expect(String((await once(response, 'data'))[0])).toBe(line)
  }
  say()
  response.resume()
  await once(response, 'end')
})

test('a reader that stands still stops the provider, and others are served meanwhile', async () => {
  let writtenBytes = 0
  const chunk = Buffer.alloc(64 * 1024)
  await using provider = await openOrigin((request, response) => {
    if (request.url === '/small') return void response.end('ok')
    const more = () => {
      do writtenBytes += chunk.length
      while (response.write(chunk))
    }
    response.on('drain', more)
    more()
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const request = front.send(alice).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  response.pause()
  let before = -1
  while (before !== writtenBytes) {
    before = writtenBytes
    for (let i = 0; i < 20; i++) expect((await front.ask(alice, { path: '/small' })).status).toBe(200)
  }
  expect(writtenBytes).toBeLessThan(32 * 1024 * 1024)
  request.destroy()
})

test.each(['before the head', 'in the middle of the body'])(
  'a caller that leaves %s is gone for the provider, too',
  async (when) => {
    const arrived = Promise.withResolvers<IncomingMessage>()
    await using provider = await openOrigin((request, response) => {
      if (when !== 'before the head') response.write('begun')
      arrived.resolve(request)
    })
    await using front = await openGatewayFront({ alice: provider.url })
    const request = front.send(alice).end()
    request.on('error', () => undefined)
    const { socket } = await arrived.promise
    if (when !== 'before the head') await once(request, 'response')
    request.destroy()
    await once(socket, 'close')
  },
)

test('a provider that breaks off is a broken answer, never a whole one', async () => {
  await using provider = await openOrigin((request, response) => {
    response.writeHead(200, request.url === '/sized' ? { 'content-length': 100 } : {})
    response.write('half', () => response.destroy())
  })
  await using front = await openGatewayFront({ alice: provider.url })
  for (const path of ['/sized', '/chunked']) {
    const request = front.send(alice, { path }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    await expect(text(response)).rejects.toMatchObject({ code: 'ECONNRESET' })
  }
})

test('a provider that is down or talks nonsense is told apart, and harms no other', async () => {
  await using good = await openOrigin((_, response) => response.end('ok'))
  await using nonsense = await openRawOrigin((socket) => socket.write('SSH-2.0-OpenSSH_9.9\r\n\r\n'))
  await using hangsUp = await openRawOrigin((socket) => socket.destroy())
  await using front = await openGatewayFront({
    alice: good.url,
    nonsense: nonsense.url,
    hangup: hangsUp.url,
    down: 'http://127.0.0.1:1',
  })
  expect(await front.ask('nonsense.localhost')).toMatchObject({
    status: 502,
    code: 'provider_answer_invalid',
  })
  expect(await front.ask('hangup.localhost')).toMatchObject({ status: 502, code: 'provider_unreachable' })
  expect(await front.ask('down.localhost')).toMatchObject({ status: 502, code: 'provider_unreachable' })
  expect((await front.ask(alice)).body.toString()).toBe('ok')
})

test('an answer that comes before the upload is over reaches the caller', async () => {
  await using provider = await openOrigin((_, response) => response.writeHead(413).end('too much'))
  await using front = await openGatewayFront({ alice: provider.url })
  const answer = await front.ask(alice, { method: 'POST', body: Buffer.alloc(512 * 1024) })
  expect(answer.status).toBe(413)
  expect(answer.body.toString()).toBe('too much')
})

test('after an early answer what the caller still sends is read over, so that its next request is heard', async () => {
  await using provider = await openOrigin((request, response) =>
    request.method === 'POST' ? response.writeHead(413).end('too much') : response.end('next'),
  )
  await using front = await openGatewayFront({ alice: provider.url })
  const head = 'POST / HTTP/1.1\r\nHost: alice.localhost\r\nContent-Length: 524288\r\n\r\n'
  const next = 'GET / HTTP/1.1\r\nHost: alice.localhost\r\nConnection: close\r\n\r\n'
  const answers = await front.sendRaw(head + 'x'.repeat(524_288) + next)
  expect(answers).toContain('too much')
  expect(answers.endsWith('next')).toBe(true)
})

test('a caller that goes on for long after an early answer is cut off', async () => {
  await using provider = await openOrigin((_, response) => response.writeHead(413).end('too much'))
  await using front = await openGatewayFront({ alice: provider.url })
  const socket = connect(front.gateway.port, front.gateway.host)
  socket.on('error', () => undefined)
  const closed = new Promise((resolve) => socket.on('close', resolve))
  socket.write('POST / HTTP/1.1\r\nHost: alice.localhost\r\nContent-Length: 99999999999\r\n\r\n')
  const more = () => {
    while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024)));
  }
  socket.on('drain', more)
  more()
  await closed
})

test('a body that waits for 100 Continue is sent to a provider, but not to nobody', async () => {
  await using provider = await openOrigin((request, response) => void request.pipe(response))
  await using front = await openGatewayFront({ alice: provider.url })
  const headers = { expect: '100-continue', 'content-length': '4' }
  const good = front.send(alice, { method: 'POST', headers })
  good.flushHeaders()
  await once(good, 'continue')
  good.end('body')
  const [answer] = (await once(good, 'response')) as [IncomingMessage]
  expect(await text(answer)).toBe('body')

  const bad = front.send('nobody.localhost', { method: 'POST', headers })
  bad.on('error', () => undefined)
  bad.flushHeaders()
  const first = await Promise.race([
    once(bad, 'continue').then(() => 'continue'),
    once(bad, 'response').then(() => 'refused'),
  ])
  expect(first).toBe('refused')
  bad.destroy()
})

test('a provider with a live tunnel is called through it, whatever its record says', async () => {
  await using home = await openOrigin((request, response) => response.end(request.headers.host))
  await using front = await openGatewayFront({
    bob: 'ws://localhost:1/_/tunnel',
    carol: 'http://127.0.0.1:1',
  })
  expect(await front.ask('bob.localhost')).toMatchObject({ status: 502, code: 'provider_offline' })
  using tunnel = createHttpPool({ connect: () => connect(home.port, '127.0.0.1'), connectionsMax: 4 })
  for (const name of ['bob', 'carol']) {
    front.tunnels.set(accountOf(name), tunnel)
    expect((await front.ask(`${name}.localhost`)).body.toString()).toBe(`${name}.localhost`)
    front.tunnels.delete(accountOf(name))
  }
  expect(await front.ask('bob.localhost')).toMatchObject({ code: 'provider_offline' })
})

test("a record with the gateway's own address means its tunnel", async () => {
  await using front = await openGatewayFront()
  front.records.set('bob', `http://${front.gateway.domain}/`)
  expect(await front.ask('bob.localhost')).toMatchObject({ status: 502, code: 'provider_offline' })
})

test('a tunnel that is lost in the middle ends the call with its own code', async () => {
  await using front = await openGatewayFront({ bob: 'ws://localhost:1/_/tunnel' })
  const lost = new ProtocolError('tunnel_lost', 'The tunnel broke.', { hint: 'Send it again.' })
  front.tunnels.set(accountOf('bob'), {
    send(_, handler) {
      queueMicrotask(() => handler.onError(lost))
      return { pause: () => undefined, resume: () => undefined, abort: () => undefined }
    },
  })
  expect(await front.ask('bob.localhost')).toMatchObject({ status: 502, code: 'tunnel_lost' })
})

test.each([
  ['a line break', 200, ['x', 'a\r\nSet-Cookie: b=1']],
  ['a name that is none', 200, ['x y', 'a']],
  ['a status that is none', 42, []],
])('a head with %s that comes through a tunnel harms nobody', async (_, status, rawHeaders) => {
  await using front = await openGatewayFront({ bob: '' })
  let aborts = 0
  front.tunnels.set(accountOf('bob'), {
    send(__, handler) {
      queueMicrotask(() => {
        handler.onHead(status, rawHeaders)
        handler.onData(Buffer.from('body'))
        handler.onEnd()
      })
      return { pause: () => undefined, resume: () => undefined, abort: () => void aborts++ }
    },
  })
  expect(await front.ask('bob.localhost')).toMatchObject({ status: 502, code: 'provider_answer_invalid' })
  expect(aborts).toBe(1)
})

test('a record that changes is followed; while the chain is away the last one serves and says its age', async () => {
  await using one = await openOrigin((_, response) => response.end('one'))
  await using two = await openOrigin((_, response) => response.end('two'))
  await using front = await openGatewayFront({ alice: one.url })
  expect((await front.ask(alice)).body.toString()).toBe('one')
  front.records.set('alice', two.url)
  front.change('alice')
  await new Promise((resolve) => setImmediate(resolve))
  expect((await front.ask(alice)).body.toString()).toBe('two')

  front.failReads = new TypeError('fetch failed')
  await front.clock.advance(90_000)
  await front.ask(alice)
  const answer = await front.ask(alice)
  expect(answer.body.toString()).toBe('two')
  expect(answer.headers['khachapuri-name-age']).toBe('90')
  expect(await front.ask('dave.localhost')).toMatchObject({ status: 503, code: 'chain_unreachable' })
})

test('a name that goes to another account has its tunnels looked at again', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  await using front = await openGatewayFront({ alice: provider.url })
  await front.ask(alice)
  front.change('alice')
  await new Promise((resolve) => setImmediate(resolve))
  expect(front.rechecked).toEqual([])
  front.records.delete('alice')
  front.change('alice')
  await new Promise((resolve) => setImmediate(resolve))
  expect(front.rechecked).toEqual([accountOf('alice')])
  expect(await front.ask(alice)).toMatchObject({ code: 'provider_unknown' })
})

test('a public URL that is none is told before anything is served', async () => {
  await expect(openGatewayFront({}, { publicUrl: 'gateway.example' })).rejects.toMatchObject({
    code: 'config_invalid',
  })
})

test("cookies stay on the provider's very host, and no service worker reaches beyond its deployment", async () => {
  await using provider = await openOrigin((_, response) => {
    response.writeHead(200, [
      'Set-Cookie',
      'wide=1; Domain=.localhost; Path=/',
      'Set-Cookie',
      'own=1; domain=alice.localhost; Secure',
      'Service-Worker-Allowed',
      '/',
      'Khachapuri-Name-Age',
      '0',
    ])
    response.end()
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const answer = await front.ask(alice, { path: '/bafy/sw.js', headers: { 'service-worker': 'script' } })
  expect(answer.headers['set-cookie']).toEqual(['wide=1; Path=/', 'own=1; Secure'])
  expect(answer.headers).not.toHaveProperty('service-worker-allowed')
  expect(answer.headers).not.toHaveProperty('khachapuri-name-age')
  for (const path of ['/', '/bafy', '/bafy?x=/y/']) {
    const refused = await front.ask(alice, { path, headers: { 'service-worker': 'script' } })
    expect(refused).toMatchObject({ status: 400, code: 'bad_request' })
  }
})

test('a provider whose address leads back here is told, and the circle ends', async () => {
  await using front = await openGatewayFront()
  const { domain, host, port } = front.gateway
  using pool = createHttpPool({ connect: () => connect(port, host), connectionsMax: 4 })
  front.records.set('alice', `ws://${domain}/_/tunnel`)
  front.tunnels.set(accountOf('alice'), pool)
  expect(await front.ask(alice)).toMatchObject({ status: 502, code: 'provider_address_blocked' })
})

test("the gateway's own host has pages, and a problem for everything else", async () => {
  const keeper = new Hono()
    .get('/ipfs/:cid', (c) => c.text(`kept ${c.req.param('cid')}`))
    .post('/ipfs', async (c) => c.text(await c.req.text()))
  await using provider = await openOrigin((_, response) => response.end())
  await using front = await openGatewayFront({ alice: provider.url }, { keeper })
  await front.ask(alice)
  expect((await front.ask('localhost', { path: '/healthz' })).status).toBe(200)
  expect((await front.ask('127.0.0.1', { path: '/readyz' })).status).toBe(200)
  expect((await front.ask('localhost', { path: '/ipfs/bafy' })).body.toString()).toBe('kept bafy')
  const expects = { expect: '100-continue', 'content-length': '3' }
  const upload = front.send('localhost', { path: '/ipfs', method: 'POST', headers: expects })
  upload.flushHeaders()
  await once(upload, 'continue')
  upload.end('car')
  expect(await text((await once(upload, 'response'))[0])).toBe('car')
  expect(await front.ask('localhost', { path: '/nothing' })).toMatchObject({ status: 404, code: 'not_found' })
  expect(await front.ask('localhost', { path: '/_/tunnel' })).toMatchObject({
    status: 400,
    code: 'bad_request',
  })
  const listed = JSON.parse((await front.ask('localhost', { path: '/_/providers' })).body.toString())
  expect(listed.providers).toEqual([
    {
      name: 'alice',
      address: accountOf('alice'),
      url: `http://alice.${front.gateway.domain}/`,
      isLive: false,
      isTunnelled: false,
    },
  ])
  const page = await front.ask('localhost', { headers: { accept: 'text/html' } })
  expect(page.headers['content-type']).toContain('text/html')
  expect(page.body.toString()).toContain('alice')
  const info = JSON.parse((await front.ask('localhost', { path: '/_/info' })).body.toString())
  expect(info.tunnel).toBe(`ws://${front.gateway.domain}/_/tunnel`)
})

test('a handshake at /_/tunnel goes to the tunnels, one for a provider to that, any other is refused', async () => {
  await using front = await openGatewayFront()
  const upgrade = (host: string, path: string) =>
    front.sendRaw(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    )
  expect(await upgrade('localhost', '/_/tunnel')).toContain('101 Taken')
  expect(await upgrade('localhost', '/_/other')).toContain('websocket_unsupported')
  expect(await upgrade(alice, '/_/tunnel')).toContain('provider_unknown')
})

test('closing lets calls in flight finish', async () => {
  const arrived = Promise.withResolvers<() => void>()
  await using provider = await openOrigin((_, response) => arrived.resolve(() => response.end('finished')))
  const front = await openGatewayFront({ alice: provider.url })
  const answer = front.ask(alice)
  const finish = await arrived.promise
  const closed = front.gateway[Symbol.asyncDispose]()
  finish()
  expect((await answer).body.toString()).toBe('finished')
  await closed
})

test('while it drains a gateway says so, serves on, and every answer is the last of its connection', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  const front = await openGatewayFront({ alice: provider.url }, { drainMs: 500 })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const before = await front.ask(alice, { agent })
  expect(before.headers.connection).toBe('keep-alive')
  const closed = front.gateway[Symbol.asyncDispose]()
  expect((await front.ask('localhost', { path: '/readyz' })).status).toBe(503)
  expect((await front.ask('localhost', { path: '/healthz' })).status).toBe(200)
  const during = await front.ask(alice, { agent })
  expect([during.status, during.headers.connection]).toEqual([200, 'close'])
  expect((await front.ask(alice, { agent })).status).toBe(200)
  await front.clock.advance(500)
  await closed
  agent.destroy()
  await expect(front.ask(alice)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
})

test('a call leaves one line in the log, without its query', async () => {
  await using provider = await openOrigin((_, response) => response.end('four'))
  await using front = await openGatewayFront({ alice: provider.url })
  await front.ask(alice, { path: '/bafy/x?token=secret', headers: { 'x-request-id': 'r-1' } })
  const line = front.log.lines.find(({ event }) => event === 'call_proxied')
  expect(line?.facts).toEqual({
    requestId: 'r-1',
    traceId: expect.stringMatching(/^[0-9a-f]{32}$/),
    client: '127.0.0.1',
    provider: 'alice',
    method: 'GET',
    path: '/bafy/x',
    status: 200,
    isWhole: true,
    sentBytes: 4,
    durationMs: 0,
  })
})
