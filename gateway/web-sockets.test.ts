import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { sha256, utf8 } from '../protocol/base/bytes.ts'
import { ProtocolError, problemType } from '../protocol/errors.ts'
import { cidOfRawDigest } from '../protocol/ipfs/cid.ts'
import { formatContenthash } from '../protocol/ipfs/contenthash.ts'
import { type GatewayFront, openGatewayFront } from '../test/support/gateway-front.ts'
import { openOrigin, openRawOrigin } from '../test/support/http-origin.ts'
import { openFront, ways } from '../test/support/provider-ways.ts'
import { until } from '../test/support/tunnels.ts'

/** WebSockets from a caller to a provider's own server, on both ways that a gateway has. */

test.each(ways)('messages of every size pass %s, with sub-protocol and headers', async (way) => {
  await using origin = await openEcho()
  await using front = await openFront(way, origin.port)
  const socket = dial(front, '/room?x=1', { headers: { 'x-forwarded-for': '6.6.6.6', cookie: 'a=1' } })
  await once(socket, 'open')
  expect(socket.protocol).toBe('chat')
  const { url, headers } = (await origin.handshake) as { url: string; headers: Record<string, string> }
  expect(url).toBe('/room?x=1')
  expect(headers).toMatchObject({ cookie: 'a=1', 'x-forwarded-for': '127.0.0.1', upgrade: 'websocket' })
  for (const size of [0, 1, 125, 126, 65_536, 1024 * 1024]) {
    const message = Buffer.alloc(size, size % 251)
    socket.send(message)
    expect(Buffer.compare((await once(socket, 'message'))[0] as Buffer, message)).toBe(0)
  }
  socket.close(4000, 'enough')
  expect((await once(socket, 'close'))[0]).toBe(4000)
})

test.each(ways)('a thousand messages at once keep their order %s', async (way) => {
  await using origin = await openEcho()
  await using front = await openFront(way, origin.port)
  const socket = dial(front)
  await once(socket, 'open')
  const seen: string[] = []
  socket.on('message', (message) => seen.push(String(message)))
  const sent = Array.from({ length: 1_000 }, (_, i) => `message ${i}`)
  for (const message of sent) socket.send(message)
  await until(() => seen.length === sent.length)
  expect(seen).toEqual(sent)
  socket.terminate()
})

test.each(ways)('whoever leaves is gone for the other end, too, %s', async (way) => {
  await using origin = await openEcho()
  await using front = await openFront(way, origin.port)
  const leaving = dial(front)
  await once(leaving, 'open')
  const [there] = [...origin.server.clients]
  leaving.terminate()
  await once(there as WebSocket, 'close')

  const left = dial(front)
  await once(left, 'open')
  const closed = once(left, 'close')
  for (const client of origin.server.clients) client.terminate()
  expect((await closed)[0]).toBe(1006)
})

test.each(ways)('a reader that stands still stops who sends %s', async (way) => {
  await using origin = await openEcho()
  await using front = await openFront(way, origin.port)
  const socket = dial(front)
  await once(socket, 'open')
  socket.pause()
  const [sender] = [...origin.server.clients] as [WebSocket]
  const message = Buffer.alloc(64 * 1024)
  let sentBytes = 0
  let takenBytes = -1
  // Until nothing more leaves the sender's process; what waits in it counts with its frames.
  for (let nowBytes = 0; nowBytes > takenBytes; nowBytes = sentBytes - sender.bufferedAmount) {
    takenBytes = nowBytes
    for (let i = 0; i < 16; i++) sender.send(message)
    sentBytes += 16 * message.length
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(takenBytes).toBeLessThan(32 * 1024 * 1024)
  let receivedBytes = 0
  socket.on('message', (data) => (receivedBytes += (data as Buffer).length))
  socket.resume()
  await until(() => receivedBytes === sentBytes)
  socket.terminate()
})

test.each(ways)(
  'an answer that is no switch is an ordinary one, and ends the connection, %s',
  async (way) => {
    await using origin = await openOrigin((request, response) => {
      response.writeHead(403, { 'x-why': request.headers.upgrade ?? 'none' }).end('members only')
    })
    // A server without WebSockets answers a handshake like any request.
    origin.server.on('upgrade', (_, socket) => {
      socket.end('HTTP/1.1 403 No\r\nx-why: websocket\r\ncontent-length: 12\r\n\r\nmembers only')
    })
    await using front = await openFront(way, origin.port)
    const answer = await front.sendRaw(`${handshake('/')}`)
    expect(answer).toMatch(/^HTTP\/1.1 403 /)
    expect(answer).toMatch(/x-why: websocket\r\n/i)
    expect(answer).toMatch(/connection: close\r\n/i)
    expect(answer.endsWith('members only')).toBe(true)
  },
)

test.each(ways)('nothing that follows a handshake reaches a server that does not switch, %s', async (way) => {
  const received: string[] = []
  await using origin = await openRawOrigin((socket, bytes) => {
    received.push(bytes.toString('latin1'))
    socket.write('HTTP/1.1 426 No\r\ncontent-length: 2\r\n\r\nno')
  })
  await using front = await openFront(way, Number(new URL(origin.url).port))
  const answer = await front.sendRaw(`${handshake('/')}GET /admin HTTP/1.1\r\nHost: alice.localhost\r\n\r\n`)
  expect(answer).toMatch(/^HTTP\/1.1 426 /)
  expect(answer).not.toMatch(/HTTP\/1.1 [^4]/)
  expect(received.join('')).not.toContain('/admin')
  expect(received.join('').split('HTTP/1.1')).toHaveLength(2)
})

test('a handshake with a body, or with another method, is refused', async () => {
  await using origin = await openEcho()
  await using front = await openFront('to its own address', origin.port)
  for (const shape of [
    handshake('/', 'content-length: 3\r\n'),
    handshake('/', 'transfer-encoding: chunked\r\n'),
    handshake('/').replace('GET', 'POST'),
    handshake('/', 'Host: bob.localhost\r\n'),
    handshake('/').replace('Connection: Upgrade', 'Connection: Upgrade, host'),
  ]) {
    expect(await front.sendRaw(shape)).toMatch(/^HTTP\/1.1 400 /)
  }
})

test('a server that switches to something else, or was not asked to, is no provider', async () => {
  await using origin = await openRawOrigin((socket) => {
    socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nevil')
  })
  await using front = await openFront('to its own address', Number(new URL(origin.url).port))
  const switched = await front.sendRaw(handshake('/'))
  expect(switched).toMatch(/^HTTP\/1.1 502 /)
  expect(switched).toContain('provider_answer_invalid')
  expect(switched).not.toContain('evil')
  expect(await front.ask('alice.localhost')).toMatchObject({ status: 502, code: 'provider_answer_invalid' })
})

test('a WebSocket to a deployment’s name goes to a provider that takes it', async () => {
  const busy = new ProtocolError('provider_busy', 'No.', { hint: 'Ask another.' })
  const body = JSON.stringify(busy.toProblem())
  await using full = await openOrigin((_, response) => void response.end())
  let refused = 0
  full.server.on('upgrade', (_, socket) => {
    refused++
    socket.end(
      `HTTP/1.1 ${busy.status} Busy\r\ncontent-type: ${problemType}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
  })
  await using origin = await openEcho()
  await using front = await openGatewayFront({ alice: full.url, bob: `http://127.0.0.1:${origin.port}` })
  const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
  front.deployments.set('thumbs', { contenthash: formatContenthash(cid), providers: 'alice bob' })
  for (let i = 0; i < 12; i++) {
    const socket = dial(front, '/room', { headers: { host: 'thumbs.localhost' } })
    await once(socket, 'open')
    socket.send('hello')
    expect(String((await once(socket, 'message'))[0])).toBe('hello')
    socket.terminate()
  }
  expect((await origin.handshake).url).toBe(`/${cid}/room`)
  // It was asked, and then left alone for a while.
  expect(refused).toBeGreaterThan(0)
})

test('a gateway that closes ends the WebSockets that it carries', async () => {
  await using origin = await openEcho()
  const front = await openFront('to its own address', origin.port)
  const socket = dial(front)
  await once(socket, 'open')
  const closed = once(socket, 'close')
  await front[Symbol.asyncDispose]()
  await closed
})

interface Echo extends AsyncDisposable {
  readonly port: number
  readonly server: WebSocketServer
  /** Of the first. */
  readonly handshake: Promise<{ url?: string | undefined; headers: object }>
}

async function openEcho(): Promise<Echo> {
  const http = createServer().listen(0, '127.0.0.1')
  await once(http, 'listening')
  const server = new WebSocketServer({ server: http, perMessageDeflate: false })
  const handshakes = Promise.withResolvers<{ url?: string | undefined; headers: object }>()
  server.on('connection', (socket, { url, headers }) => {
    handshakes.resolve({ url, headers })
    socket.on('error', () => undefined)
    socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
  })
  return {
    port: (http.address() as AddressInfo).port,
    server,
    handshake: handshakes.promise,
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate()
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

function dial({ gateway }: GatewayFront, path = '/', options: { headers?: Record<string, string> } = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, ['chat'], {
    ...options,
    headers: { host: 'alice.localhost', ...options.headers },
    perMessageDeflate: false,
  })
  socket.on('error', () => undefined)
  return socket
}

const handshake = (path: string, more = '') =>
  `GET ${path} HTTP/1.1\r\nHost: alice.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`
