import { hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectH2, constants, type IncomingHttpHeaders } from 'node:http2'
import { get as getHttps } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { buffer, text } from 'node:stream/consumers'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createTestAuthority, type TestAuthority } from '../../test/support/tls.ts'
import { type HttpListener, type ListenOptions, listen } from './listen.ts'
import type { TlsIdentity } from './secure-server.ts'

let authority: TestAuthority
let identity: TlsIdentity
beforeAll(async () => {
  authority = await createTestAuthority()
  identity = await newIdentity()
})

const newIdentity = async (ticketKeys: Buffer = randomBytes(48)): Promise<TlsIdentity> => ({
  ...(await authority.sign('localhost')),
  ticketKeys,
})

const listenSecurely = (options: Partial<ListenOptions> & Pick<ListenOptions, 'onRequest'>) =>
  listen({ host: '127.0.0.1', port: 0, tls: identity, ...options })

const trust = () => ({ ca: authority.ca, servername: 'localhost' })

function openH2(listener: HttpListener) {
  const session = connectH2(`https://127.0.0.1:${listener.port}`, trust())
  session.on('error', () => undefined)
  const send = (headers: Record<string, string | string[]>, body?: Buffer | string) => {
    const stream = session.request(
      { ':path': '/', ':authority': 'localhost', ...headers },
      { endStream: body === undefined },
    )
    stream.on('error', () => undefined)
    if (body !== undefined) stream.end(body)
    return stream
  }
  return {
    session,
    send,
    async ask(headers: Record<string, string | string[]>, body?: Buffer | string) {
      const stream = send(headers, body)
      const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }]
      return { head, body: await buffer(stream) }
    },
    [Symbol.dispose]: () => session.destroy(),
  }
}

async function shakeHands(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, ...trust(), ...options })
  await once(socket, 'secureConnect')
  return socket
}

test('one port speaks HTTP/2 to whoever offers it, and HTTP/1.1 to all others', async () => {
  await using listener = await listenSecurely({
    onRequest: (request, response) => void response.end(`${request.httpVersion} ${request.headers.host}`),
  })
  using h2 = openH2(listener)
  expect((await h2.ask({})).body.toString()).toBe('2.0 localhost')
  const h1 = await new Promise<string>((resolve) => {
    const options = {
      ...trust(),
      host: '127.0.0.1',
      port: listener.port,
      agent: false,
      headers: { host: 'localhost' },
    }
    getHttps(options, (response) => resolve(text(response)))
  })
  expect(h1).toBe('1.1 localhost')
  const old = shakeHands(listener.port, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })
  await expect(old).rejects.toThrow(/protocol|version|alert/i)
})

test('who speaks no TLS, or HTTP/2 without it, is not answered', async () => {
  await using listener = await listenSecurely({ onRequest: (_, response) => void response.end('no') })
  for (const words of ['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n']) {
    const socket = connectTcp(listener.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(words)
    expect((await text(socket).catch(() => '')).includes('HTTP/1.1 200')).toBe(false)
  }
  await using plain = await listen({
    host: '127.0.0.1',
    port: 0,
    onRequest: (_, response) => void response.end(),
  })
  const socket = connectTcp(plain.port, '127.0.0.1')
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 /)
})

test('a request over HTTP/2 reads like one over HTTP/1.1, and so does its answer', async () => {
  const seen: unknown[] = []
  await using listener = await listenSecurely({
    async onRequest(request, response) {
      const body = (await buffer(request)).toString()
      seen.push({ method: request.method, url: request.url, rawHeaders: request.rawHeaders, body })
      response.writeHead(207, [
        'X-Seen',
        'yes',
        'Set-Cookie',
        'a=1',
        'set-cookie',
        'b=2',
        'Connection',
        'close',
      ])
      response.end('done')
    },
  })
  using h2 = openH2(listener)
  const headers = { ':method': 'PUT', ':path': '/a?b', cookie: ['a=1', 'b=2'], 'x-two': ['1', '2'] }
  const { head, body } = await h2.ask(headers, 'hello')
  expect(seen).toEqual([
    {
      method: 'PUT',
      url: '/a?b',
      body: 'hello',
      rawHeaders: [
        'host',
        'localhost',
        'x-two',
        '1',
        'x-two',
        '2',
        'cookie',
        'a=1; b=2',
        'transfer-encoding',
        'chunked',
      ],
    },
  ])
  expect(head).toMatchObject({ ':status': 207, 'x-seen': 'yes', 'set-cookie': ['a=1', 'b=2'] })
  expect(head).not.toHaveProperty('connection')
  expect(body.toString()).toBe('done')
})

test('an authority and a host that differ are both there, for whoever refuses two', async () => {
  const seen = Promise.withResolvers<readonly string[]>()
  await using listener = await listenSecurely({
    onRequest(request, response) {
      seen.resolve(request.rawHeaders)
      response.end()
    },
  })
  using h2 = openH2(listener)
  await h2.ask({ ':authority': 'a.localhost', host: 'b.localhost' })
  expect(await seen.promise).toEqual(['host', 'a.localhost', 'host', 'b.localhost'])
})

test('answers without a body have none, whatever the handler writes', async () => {
  await using listener = await listenSecurely({
    onRequest(request, response) {
      response.writeHead(
        request.url === '/gone' ? 204 : 200,
        ['content-length', '5'].slice(request.url === '/gone' ? 2 : 0),
      )
      response.end('extra')
    },
  })
  using h2 = openH2(listener)
  expect((await h2.ask({ ':path': '/gone' })).body.length).toBe(0)
  const { head, body } = await h2.ask({ ':method': 'HEAD' })
  expect([head['content-length'], body.length]).toEqual(['5', 0])
})

test('a head that cannot be sent has not begun an answer', async () => {
  await using listener = await listenSecurely({
    onRequest(_, response) {
      try {
        response.writeHead(200, ['x-evil', 'a\r\nset-cookie: b'])
      } catch {
        expect(response.headersSent).toBe(false)
        response.writeHead(502, [])
        response.end()
      }
    },
  })
  using h2 = openH2(listener)
  expect((await h2.ask({})).head[':status']).toBe(502)
})

test('a caller who goes is heard of, and half an answer is not taken for a whole one', async () => {
  const left = Promise.withResolvers<boolean>()
  await using listener = await listenSecurely({
    onRequest(request, response) {
      response.writeHead(200, [])
      response.write('half')
      if (request.url === '/broken') setImmediate(() => response.destroy())
      else response.on('close', () => left.resolve(response.writableFinished))
    },
  })
  using h2 = openH2(listener)
  const stream = h2.send({})
  await once(stream, 'data')
  stream.close(constants.NGHTTP2_CANCEL)
  expect(await left.promise).toBe(false)
  const broken = h2.send({ ':path': '/broken' })
  await expect(buffer(broken)).rejects.toThrow('NGHTTP2_INTERNAL_ERROR')
})

test('a body goes no faster than its reader in both directions, and arrives whole', async () => {
  await using listener = await listenSecurely({
    onRequest: (request, response) => void request.pipe(response),
  })
  using h2 = openH2(listener)
  const body = randomBytes(8 * 1024 * 1024)
  expect((await h2.ask({ ':method': 'POST' }, body)).body.equals(body)).toBe(true)

  let sentBytes = 0
  const chunk = Buffer.alloc(64 * 1024)
  await using endless = await listenSecurely({
    onRequest(_, response) {
      const more = () => {
        do sentBytes += chunk.length
        while (response.write(chunk))
      }
      response.on('drain', more)
      more()
    },
  })
  using other = openH2(endless)
  const stream = other.send({})
  await once(stream, 'response')
  stream.pause()
  let before = -1
  while (before !== sentBytes) {
    before = sentBytes
    await new Promise((resolve) => other.session.ping(resolve))
  }
  expect(sentBytes).toBeLessThan(4 * 1024 * 1024)
})

test('who asks whether to send a body is told, or refused before it is sent', async () => {
  await using listener = await listenSecurely({
    onRequest: (_, response) => void response.end('at once'),
    onExpectContinue(request, response) {
      if (request.url === '/no') {
        response.writeHead(413, [])
        response.end()
      } else {
        response.writeContinue()
        request.pipe(response)
      }
    },
  })
  using h2 = openH2(listener)
  const asked = h2.session.request({
    ':method': 'POST',
    ':path': '/',
    ':authority': 'localhost',
    expect: '100-continue',
  })
  await once(asked, 'continue')
  asked.end('sent')
  expect(await text(asked)).toBe('sent')
  const refused = h2.session.request({
    ':method': 'POST',
    ':path': '/no',
    ':authority': 'localhost',
    expect: '100-continue',
  })
  const [head] = (await once(refused, 'response')) as [IncomingHttpHeaders & { ':status': number }]
  expect(head[':status']).toBe(413)
})

test('another certificate is shown from the next connection on, and those that are open go on', async () => {
  await using listener = await listenSecurely({ onRequest: (_, response) => void response.end('ok') })
  using h2 = openH2(listener)
  await h2.ask({})
  const before = await shakeHands(listener.port)
  const next = await newIdentity()
  listener.setIdentity(next)
  const after = await shakeHands(listener.port)
  const serial = (socket: TLSSocket) => socket.getPeerCertificate().serialNumber
  expect(serial(after)).not.toBe(serial(before))
  expect((await h2.ask({})).body.toString()).toBe('ok')
  before.destroy()
  after.destroy()
})

test('a session of one process is resumed at another with the same ticket keys, and at no other', async () => {
  const onRequest: ListenOptions['onRequest'] = (_, response) => void response.end()
  await using first = await listenSecurely({ onRequest })
  await using second = await listenSecurely({ onRequest, tls: await newIdentity(identity.ticketKeys) })
  await using stranger = await listenSecurely({
    onRequest,
    tls: { ...identity, ticketKeys: randomBytes(48) },
  })
  const socket = await shakeHands(first.port)
  const [session] = (await once(socket, 'session')) as [Buffer]
  socket.destroy()
  const resumed = await shakeHands(second.port, { session })
  expect(resumed.isSessionReused()).toBe(true)
  const anew = await shakeHands(stranger.port, { session })
  expect(anew.isSessionReused()).toBe(false)
  resumed.destroy()
  anew.destroy()
})

test('closing lets requests over HTTP/2 finish, and cuts off what never does', async () => {
  const held = Promise.withResolvers<() => void>()
  const listener = await listenSecurely({
    shutdownTimeoutMs: 500,
    onRequest(request, response) {
      if (request.url === '/slow') held.resolve(() => void response.end('finished'))
    },
  })
  using h2 = openH2(listener)
  const answer = h2.ask({ ':path': '/slow' })
  const finish = await held.promise
  const stuck = h2.send({ ':path': '/stuck' })
  const closed = listener[Symbol.asyncDispose]()
  await once(h2.session, 'goaway')
  finish()
  expect((await answer).body.toString()).toBe('finished')
  await closed
  await expect(buffer(stuck)).rejects.toThrow()
})

test('garbage, floods and heads without end harm nobody else', async () => {
  await using listener = await listenSecurely({ onRequest: (_, response) => void response.end('ok') })
  using good = openH2(listener)
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer<ArrayBuffer> => {
    const head = Buffer.alloc(9)
    head.writeUIntBE(payload.length, 0, 3)
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    return Buffer.concat([head, payload])
  }
  const settings = frame(4, 0, 0, Buffer.alloc(0))
  const attacks: readonly Buffer[] = [
    Buffer.concat([preface, randomBytes(1000)]),
    Buffer.concat([
      preface,
      settings,
      ...Array.from({ length: 64 }, () => frame(9, 0, 1, Buffer.alloc(8000))),
    ]),
    Buffer.concat([
      preface,
      settings,
      frame(1, 0, 1, randomBytes(4000)),
      ...Array.from({ length: 64 }, () => frame(9, 0, 1, randomBytes(8000))),
    ]),
    Buffer.concat([
      preface,
      settings,
      ...Array.from({ length: 5000 }, () => frame(6, 0, 0, Buffer.alloc(8))),
    ]),
    Buffer.concat([preface, settings, ...Array.from({ length: 5000 }, () => settings)]),
    Buffer.concat([
      preface,
      settings,
      frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
      frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
    ]),
  ]
  for (const attack of attacks) {
    const socket = await shakeHands(listener.port, { ALPNProtocols: ['h2'] })
    socket.on('error', () => undefined)
    socket.end(attack)
    socket.resume()
    await once(socket, 'close')
    expect((await good.ask({})).body.toString()).toBe('ok')
  }
  const wide = good.send({ 'x-wide': 'x'.repeat(20_000), 'x-too': 'y'.repeat(20_000) })
  await expect(once(wide, 'response')).rejects.toThrow()
  expect((await good.ask({})).body.toString()).toBe('ok')
})

test('a body over HTTP/2 that has not come in its time ends its request, and no other', async () => {
  await using listener = await listenSecurely({
    headerTimeoutMs: 20,
    requestTimeoutMs: 20,
    async onRequest(request, response) {
      const body = await buffer(request).catch(() => undefined)
      response.end(body)
    },
  })
  using h2 = openH2(listener)
  const late = h2.session.request({ ':method': 'POST', ':path': '/', ':authority': 'localhost' })
  const closed = new Promise((resolve) => late.on('error', () => undefined).on('close', resolve))
  late.write('some of it')
  await closed
  expect(late.rstCode).not.toBe(constants.NGHTTP2_NO_ERROR)
  expect((await h2.ask({ ':method': 'POST' }, 'all of it')).body.toString()).toBe('all of it')
})

test('what a caller still sends over HTTP/2 after its answer is read over, for a while', async () => {
  await using listener = await listenSecurely({ onRequest: (_, response) => void response.end('early') })
  using h2 = openH2(listener)
  const stream = h2.session.request({ ':method': 'POST', ':path': '/', ':authority': 'localhost' })
  stream.on('error', () => undefined)
  const answer = buffer(stream)
  const closed = new Promise((resolve) => stream.on('close', resolve))
  const pour = () => {
    while (!stream.destroyed && stream.write(Buffer.alloc(64 * 1024))) {}
  }
  stream.on('drain', pour)
  pour()
  await closed
  expect((await answer).toString()).toBe('early')
})

test('a connection over HTTP/2 whose other end has gone silent ends, with a head that never ends or without', async () => {
  await using listener = await listenSecurely({
    pingIntervalMs: 50,
    onRequest: () => expect.unreachable('nobody asks for anything'),
  })
  // The preface, and empty settings (RFC 9113 sections 3.4 and 6.5); then half of a head that others would have to follow.
  const preface = `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\0\0\0\x04\0\0\0\0\0'}`
  for (const more of ['', `${'\0\0\x01\x01\0\0\0\0\x01'}\x82`]) {
    const silent = await shakeHands(listener.port, { ALPNProtocols: ['h2'] })
    silent.on('error', () => undefined).resume()
    const closed = new Promise((resolve) => silent.once('close', resolve))
    silent.write(preface + more, 'latin1')
    await closed
  }
})

test('a WebSocket over TLS is a request that may be answered 101', async () => {
  await using listener = await listenSecurely({
    onRequest: (_, response) => void response.end(),
    onSwitch(request, response) {
      const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
      response.writeHead(101, ['sec-websocket-accept', hash('sha1', key, 'base64')])
      request.once('data', (frame: Buffer) => {
        // Its own frame, without the mask.
        const text = frame.subarray(6).map((byte, i) => byte ^ frame[2 + (i % 4)]!)
        response.end(Buffer.concat([Buffer.of(0x81, text.length), text, Buffer.of(0x88, 0)]))
      })
    },
  })
  const socket = new WebSocket(`wss://127.0.0.1:${listener.port}/`, { ...trust(), perMessageDeflate: false })
  await once(socket, 'open')
  socket.send('hello')
  expect(String((await once(socket, 'message'))[0])).toBe('hello')
  await once(socket, 'close')
})

test('trailers of HTTP/2 are those of HTTP/1.1, in both directions', async () => {
  await using listener = await listenSecurely({
    async onRequest(request, response) {
      const body = await text(request)
      response.writeHead(200, [])
      response.write(body)
      response.addTrailers([['X-Seen', JSON.stringify(request.rawTrailers)]])
      response.end()
    },
  })
  using h2 = openH2(listener)
  const stream = h2.session.request(
    { ':path': '/', ':authority': 'localhost', ':method': 'POST' },
    { waitForTrailers: true },
  )
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '4' }))
  stream.end('body')
  const trailers = once(stream, 'trailers')
  expect(await text(stream)).toBe('body')
  expect((await trailers)[0]).toMatchObject({ 'x-seen': '["x-sum","4"]' })
})
