import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ProtocolError } from '../errors.ts'
import { createHttpPool, type HttpPoolOptions } from './h1-client.ts'
import type { RawHeaders, Upstream, UpstreamExchange, UpstreamRequest } from './upstream.ts'

interface Answer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: Buffer
}

/** Sends a request and collects the answer; rejects with the error. */
function ask(upstream: Upstream, request: Partial<UpstreamRequest> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let head: Omit<Answer, 'body'> | undefined
    const parts: Buffer[] = []
    upstream.send(
      { method: 'GET', target: '/', rawHeaders: ['host', 'test'], ...request },
      {
        onHead: (status, rawHeaders) => {
          head = { status, rawHeaders }
        },
        onData: (chunk) => parts.push(chunk),
        onEnd: () => resolve({ ...head!, body: Buffer.concat(parts) }),
        onError: reject,
      },
    )
  })
}

async function codeOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    () => 'answered',
    (error: ProtocolError) => error.code,
  )
}

async function serve(listener: RequestListener, options: Partial<HttpPoolOptions> = {}) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = createHttpPool({ connect: () => connect(port, '127.0.0.1'), connectionsMax: 4, ...options })
  return {
    pool,
    server,
    async [Symbol.asyncDispose]() {
      pool.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A server that answers each connection as the test says, byte by byte. */
async function serveRaw(onConnection: (socket: Socket) => void, options: Partial<HttpPoolOptions> = {}) {
  const sockets = new Set<Socket>()
  const server = createNetServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const pool = createHttpPool({ connect: () => connect(port, '127.0.0.1'), connectionsMax: 4, ...options })
  return {
    pool,
    sockets,
    async [Symbol.asyncDispose]() {
      pool.close()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const echo: RequestListener = (request, response) => {
  response.setHeader('x-method', request.method!)
  request.pipe(response)
}

test('bodies come back byte for byte, whatever their size and the way they are sent', async () => {
  await using upstream = await serve(echo)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 70_000 }), { maxLength: 4 }),
      fc.constantFrom('buffer', 'stream', 'sized stream'),
      async (parts, kind) => {
        const bytes = Buffer.concat(parts)
        const body = kind === 'buffer' ? bytes : Readable.from(parts.map((part) => Buffer.from(part)))
        const rawHeaders = [
          'Host',
          'x',
          ...(kind === 'sized stream' ? ['Content-Length', `${bytes.length}`] : []),
        ]
        const answer = await ask(upstream.pool, { method: 'POST', rawHeaders, body })
        expect(answer.status).toBe(200)
        expect(answer.body.equals(bytes)).toBe(true)
      },
    ),
    { numRuns: 60 },
  )
  expect(upstream.pool.inFlight).toBe(0)
})

test('an answer means the same however the network cuts it', async () => {
  const answers = [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX-Trailer: t\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello',
    'HTTP/1.0 200 OK\r\n\r\nhello',
  ]
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...answers),
      fc.array(fc.nat({ max: 120 }), { maxLength: 6 }),
      async (text, cuts) => {
        const edges = [0, ...cuts.filter((c) => c < text.length).sort((a, b) => a - b), text.length]
        await using upstream = await serveRaw((socket) => {
          socket.setNoDelay(true)
          socket.once('data', async () => {
            for (let i = 1; i < edges.length; i++) {
              socket.write(text.slice(edges[i - 1], edges[i]), 'latin1')
              await new Promise((resolve) => setImmediate(resolve))
            }
            if (!text.includes('ength') && !text.includes('chunked')) socket.end()
          })
        })
        const answer = await ask(upstream.pool)
        expect(answer.status).toBe(200)
        expect(answer.body.toString()).toBe('hello')
      },
    ),
    { numRuns: 60 },
  )
})

test.each([
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na'],
  ['a length list', 'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na'],
  ['a signed length', 'HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na'],
  [
    'length and chunked',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['another transfer coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
  [
    'chunked twice',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a switch of protocols', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
  ['no status', 'HTTP/1.1 OK\r\n\r\n'],
  ['HTTP/2', 'HTTP/2 200\r\n\r\n'],
  ['bare line feeds', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n'],
  ['a folded header', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
  ['a space before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n'],
  ['NUL in a header', 'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n'],
  ['a bare CR in a header', 'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n'],
  ['a bare CR before a value', 'HTTP/1.1 200 OK\r\nX:\rContent-Length: 1\r\nContent-Length: 0\r\n\r\n'],
  ['a bare LF behind a value', 'HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\n\r\na'],
  ['a head without end', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(40_000)}`],
  ['endless informational heads', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(40)],
  ['a malformed chunk size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n'],
  [
    'a chunk that is longer than it said',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n',
  ],
  ['chunk lines without CR', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n'],
  [
    'endless trailers',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${'X: a short one\r\n'.repeat(4_000)}`,
  ],
  ['endless chunk extensions', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(2_000)}`],
])('an answer with %s is refused', async (_, text) => {
  await using upstream = await serveRaw((socket) => socket.once('data', () => socket.write(text, 'latin1')))
  expect(await codeOf(ask(upstream.pool))).toBe('provider_answer_invalid')
  expect(upstream.pool.inFlight).toBe(0)
})

test('any bytes give an answer or a refusal, and leave nothing in flight', async () => {
  let next = Buffer.alloc(0)
  await using upstream = await serveRaw((socket) => socket.once('data', () => socket.end(next)))
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, hasStatusLine) => {
      next = Buffer.concat([Buffer.from(hasStatusLine ? 'HTTP/1.1 200 OK\r\n' : ''), bytes])
      const code = await codeOf(ask(upstream.pool))
      expect(['answered', 'provider_answer_invalid', 'provider_unreachable']).toContain(code)
      expect(upstream.pool.inFlight).toBe(0)
    }),
    { numRuns: 150 },
  )
})

test('HEAD, 204 and 304 have no body, and their connection goes on', async () => {
  const ports = new Set<number>()
  await using upstream = await serve((request, response) => {
    ports.add(request.socket.remotePort!)
    const status = Number(request.url!.slice(1))
    response.writeHead(status, status === 204 ? {} : { 'content-length': 12 })
    response.end(request.method === 'HEAD' || status !== 200 ? undefined : 'a dozen long')
  })
  const head = await ask(upstream.pool, { method: 'HEAD', target: '/200' })
  expect(head.rawHeaders).toContain('content-length')
  expect(head.body.length).toBe(0)
  expect((await ask(upstream.pool, { target: '/304' })).status).toBe(304)
  expect((await ask(upstream.pool, { target: '/204' })).status).toBe(204)
  expect((await ask(upstream.pool, { target: '/200' })).body.toString()).toBe('a dozen long')
  expect(ports.size).toBe(1)
})

test('hop-by-hop headers and those named by Connection stop here; order, case and duplicates stay', async () => {
  await using upstream = await serveRaw((socket) =>
    socket.once('data', () =>
      socket.write(
        'HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Hop: 1\r\nConnection: x-hop\r\nKeep-Alive: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n',
      ),
    ),
  )
  const answer = await ask(upstream.pool)
  expect(answer.rawHeaders).toEqual(['Set-Cookie', 'a', 'set-cookie', 'b', 'Content-Length', '0'])
})

test('bytes after the end of an answer never reach the next request', async () => {
  let connections = 0
  await using upstream = await serveRaw((socket) => {
    connections++
    socket.on('data', () =>
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
      ),
    )
  })
  expect((await ask(upstream.pool)).body.toString()).toBe('ok')
  expect((await ask(upstream.pool)).body.toString()).toBe('ok')
  expect(connections).toBe(2)
})

test('a body that is announced where there is none, and comes late, never answers the next request', async () => {
  let connections = 0
  await using upstream = await serveRaw((socket) => {
    let requests = 0
    connections++
    socket.on('data', () =>
      socket.write(
        ++requests === 1
          ? 'HTTP/1.1 204 No Content\r\nContent-Length: 45\r\n\r\n'
          : 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
      ),
    )
  })
  expect((await ask(upstream.pool)).status).toBe(204)
  expect((await ask(upstream.pool)).status).toBe(204)
  expect(connections).toBe(2)
})

test('bytes on an idle connection end it', async () => {
  await using upstream = await serveRaw((socket) =>
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')),
  )
  await ask(upstream.pool)
  const [socket] = upstream.sockets
  socket!.write('HTTP/1.1 200 OK\r\n\r\n')
  await once(socket!, 'close')
})

test('a safe request on a connection that had gone stale is sent once more; a POST is not', async () => {
  const methods: string[] = []
  await using upstream = await serveRaw((socket) => {
    let requests = 0
    socket.on('data', (bytes) => {
      methods.push(bytes.toString().split(' ')[0]!)
      if (++requests === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      else socket.resetAndDestroy()
    })
  })
  await ask(upstream.pool)
  expect((await ask(upstream.pool)).status).toBe(200)
  expect(await codeOf(ask(upstream.pool, { method: 'POST' }))).toBe('provider_unreachable')
  expect(methods).toEqual(['GET', 'GET', 'GET', 'POST'])
})

test('a server that is not there is told as unreachable', async () => {
  const upstream = await serveRaw(() => undefined)
  await upstream[Symbol.asyncDispose]()
  const { port } = await closedPort()
  using pool = createHttpPool({ connect: () => connect(port, '127.0.0.1'), connectionsMax: 1 })
  expect(await codeOf(ask(pool))).toBe('provider_unreachable')
})

async function closedPort() {
  const server = createNetServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return address
}

test('requests beyond the connections wait their turn, and beyond the queue are refused', async () => {
  const held: (() => void)[] = []
  await using upstream = await serve((_, response) => void held.push(() => response.end('done')), {
    connectionsMax: 1,
    requestsWaitingMax: 1,
  })
  const first = ask(upstream.pool)
  const second = ask(upstream.pool)
  expect(await codeOf(ask(upstream.pool))).toBe('provider_busy')
  expect(upstream.pool.inFlight).toBe(2)
  await once(upstream.server, 'request')
  held.shift()!()
  await first
  await once(upstream.server, 'request')
  held.shift()!()
  expect((await second).body.toString()).toBe('done')
})

test('no answer and an answer that stands still end, each with its own code', async () => {
  const timeouts = { firstByteTimeoutMs: 20, idleTimeoutMs: 20 }
  await using silent = await serveRaw(() => undefined, timeouts)
  expect(await codeOf(ask(silent.pool))).toBe('call_timeout')
  await using stuck = await serveRaw(
    (socket) => socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf')),
    timeouts,
  )
  expect(await codeOf(ask(stuck.pool))).toBe('call_stalled')
})

test('an idle connection is closed after its time', async () => {
  await using upstream = await serve((_, response) => response.end(), { keepAliveMs: 20 })
  const connection = once(upstream.server, 'connection')
  await ask(upstream.pool)
  const [socket] = (await connection) as [Socket]
  await once(socket, 'close')
})

test('an abort closes the connection at the server, and no callback is called any more', async () => {
  await using upstream = await serve((_, response) => void response.write('first'))
  const calls: string[] = []
  const arrived = once(upstream.server, 'request')
  const exchange = upstream.pool.send(
    { method: 'GET', target: '/', rawHeaders: ['host', 'x'] },
    {
      onHead: () => calls.push('head'),
      onData: () => {
        calls.push('data')
        exchange.abort()
      },
      onEnd: () => calls.push('end'),
      onError: () => calls.push('error'),
    },
  )
  const [request] = await arrived
  await once(request.socket, 'close')
  expect(calls).toEqual(['head', 'data'])
  expect(upstream.pool.inFlight).toBe(0)
})

test('a paused exchange stops the sender', async () => {
  const chunk = Buffer.alloc(64 * 1024)
  let writtenBytes = 0
  await using upstream = await serve((_, response) => {
    const more = () => {
      do writtenBytes += chunk.length
      while (response.write(chunk))
    }
    response.on('drain', more)
    more()
  })
  let receivedBytes = 0
  let isStalled = false
  const stalled = Promise.withResolvers<UpstreamExchange>()
  const exchange = upstream.pool.send(
    { method: 'GET', target: '/', rawHeaders: ['host', 'x'] },
    {
      onHead: () => undefined,
      onData: (data) => {
        receivedBytes += data.length
        if (receivedBytes > 1_000_000 && !isStalled) {
          isStalled = true
          exchange.pause()
          stalled.resolve(exchange)
        }
      },
      onEnd: () => undefined,
      onError: stalled.reject,
    },
  )
  await stalled.promise
  // Loopback buffers hold a few MiB; what counts is that the sender then stands still.
  let before = -1
  while (before !== writtenBytes) {
    before = writtenBytes
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(writtenBytes).toBeLessThan(32_000_000)
  const receivedWhilePaused = receivedBytes
  exchange.resume()
  while (receivedBytes < receivedWhilePaused + 2_000_000)
    await new Promise((resolve) => setImmediate(resolve))
  exchange.abort()
})

test('a request that is paused while it waits hears nothing of its body until it is resumed', async () => {
  const held: (() => void)[] = []
  await using upstream = await serve((_, response) => void held.push(() => response.end('body')), {
    connectionsMax: 1,
  })
  const first = ask(upstream.pool)
  const ended = Promise.withResolvers<void>()
  const parts: string[] = []
  const exchange = upstream.pool.send(
    { method: 'GET', target: '/', rawHeaders: ['host', 'x'] },
    {
      onHead: () => undefined,
      onData: (chunk) => parts.push(chunk.toString()),
      onEnd: () => ended.resolve(),
      onError: ended.reject,
    },
  )
  exchange.pause()
  await once(upstream.server, 'request')
  held.shift()!()
  await first
  const [, response] = await once(upstream.server, 'request')
  held.shift()!()
  await once(response, 'finish')
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(parts).toEqual([])
  exchange.resume()
  await ended.promise
  expect(parts).toEqual(['body'])
})

test('an upload is read no faster than the server takes it', async () => {
  let producedBytes = 0
  const source = new Readable({
    read() {
      producedBytes += 65_536
      this.push(Buffer.alloc(65_536))
    },
  })
  await using upstream = await serve(() => undefined)
  const arrived = once(upstream.server, 'request')
  const exchange = upstream.pool.send(
    { method: 'POST', target: '/', rawHeaders: ['host', 'x'], body: source },
    { onHead: () => undefined, onData: () => undefined, onEnd: () => undefined, onError: () => undefined },
  )
  await arrived
  let before = -1
  while (before !== producedBytes) {
    before = producedBytes
    for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  expect(producedBytes).toBeLessThan(32_000_000)
  exchange.abort()
  expect(source.listenerCount('data')).toBe(0)
})

test('an answer that comes before the upload has ended is delivered, and the connection is not used again', async () => {
  const ports = new Set<number>()
  await using upstream = await serve((request, response) => {
    ports.add(request.socket.remotePort!)
    response.writeHead(413).end('enough')
  })
  const source = new Readable({ read: () => undefined })
  source.push('first')
  const answer = await ask(upstream.pool, { method: 'POST', body: source })
  expect(answer.status).toBe(413)
  expect(upstream.pool.inFlight).toBe(0)
  expect(source.listenerCount('data')).toBe(0)
  expect((await ask(upstream.pool)).status).toBe(413)
  expect(ports.size).toBe(2)
})

test('an exchange that ended while it was paused leaves a connection that goes on', async () => {
  await using upstream = await serve((_, response) => response.end('all'), { connectionsMax: 1 })
  const ended = Promise.withResolvers<void>()
  const exchange = upstream.pool.send(
    { method: 'GET', target: '/', rawHeaders: ['host', 'x'] },
    {
      onHead: () => undefined,
      onData: () => exchange.pause(),
      onEnd: () => ended.resolve(),
      onError: ended.reject,
    },
  )
  await ended.promise
  expect((await ask(upstream.pool)).body.toString()).toBe('all')
})

test.each([
  ['shorter', '9'],
  ['longer', '2'],
])('a body that is %s than its length is not sent as if it were whole', async (_, length) => {
  await using upstream = await serve(echo)
  const rawHeaders = ['host', 'x', 'content-length', length]
  const body = Readable.from([Buffer.from('four')])
  expect(await codeOf(ask(upstream.pool, { method: 'POST', rawHeaders, body }))).toBe('bad_request')
})

test('nothing in a request can begin another header or request', async () => {
  await using upstream = await serve(echo)
  for (const request of [
    { rawHeaders: ['x', 'a\r\nb: c'] },
    { rawHeaders: ['x y', 'a'] },
    { target: '/ HTTP/1.1\r\nx: y' },
    { target: '' },
    { method: 'GET /' },
    { rawHeaders: ['content-length', '3'] },
    { rawHeaders: ['content-length', '3', 'content-length', '3'], body: Buffer.from('abc') },
  ]) {
    expect(await codeOf(ask(upstream.pool, request))).toBe('bad_request')
  }
  expect(upstream.pool.inFlight).toBe(0)
})

test('closing the pool ends what is in flight', async () => {
  await using upstream = await serve(() => undefined)
  const answer = codeOf(ask(upstream.pool))
  await once(upstream.server, 'request')
  upstream.pool.close()
  expect(await answer).toBe('provider_unreachable')
  expect(await codeOf(ask(upstream.pool))).toBe('provider_unreachable')
})
