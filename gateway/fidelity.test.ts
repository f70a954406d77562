import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { MiB } from '../protocol/base/bytes.ts'
import { openOrigin, openRawOrigin } from '../test/support/http-origin.ts'
import { allWays, openFront, ways } from '../test/support/provider-ways.ts'
import { until } from '../test/support/tunnels.ts'

/** What HTTP/1.1 promises to both ends, on both ways that a gateway has to a provider. */

const alice = 'alice.localhost'
const file = Buffer.from('The cheese is inside, and the egg is on top.')

test.each(ways)('HEAD, ranges and conditions are the provider’s affair %s', async (way) => {
  await using provider = await openOrigin((request, response) => {
    const etag = '"k1"'
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304, { etag }).end()
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const part = first ? file.subarray(Number(first), Number(last) + 1) : file
    const headers = { etag, 'accept-ranges': 'bytes', 'content-length': part.length }
    if (first) {
      response.writeHead(206, { ...headers, 'content-range': `bytes ${first}-${last}/${file.length}` })
    } else response.writeHead(200, headers)
    response.end(request.method === 'HEAD' ? undefined : part)
  })
  await using front = await openFront(way, provider.port)

  const head = await front.ask(alice, { method: 'HEAD' })
  expect(head).toMatchObject({ status: 200, headers: { 'content-length': String(file.length) } })
  expect(head.body).toHaveLength(0)
  const part = await front.ask(alice, { headers: { range: 'bytes=4-9' } })
  expect(part).toMatchObject({ status: 206, headers: { 'content-range': `bytes 4-9/${file.length}` } })
  expect(part.body.toString()).toBe('cheese')
  const known = await front.ask(alice, { headers: { 'if-none-match': '"k1"' } })
  expect(known).toMatchObject({ status: 304, headers: { etag: '"k1"' } })
  expect(known.headers).not.toHaveProperty('transfer-encoding')
  // All of them on one connection: nobody waits for a body that never comes.
  const raw = await front.sendRaw(
    ['HEAD', 'GET', 'HEAD']
      .map(
        (method, i) =>
          `${method} / HTTP/1.1\r\nHost: ${alice}\r\n${i === 2 ? 'Connection: close\r\n' : ''}\r\n`,
      )
      .join(''),
  )
  expect(raw.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3)
  expect(raw.match(/The cheese/g)).toHaveLength(1)
})

test.each(ways)('a short body of unknown length arrives, and one of none is no body, %s', async (way) => {
  await using provider = await openOrigin(async (request, response) => {
    response.end(`${request.headers['transfer-encoding']} ${await text(request)}`)
  })
  await using front = await openFront(way, provider.port)
  const headers = { 'transfer-encoding': 'chunked' }
  expect((await front.ask(alice, { method: 'POST', headers, body: 'short' })).body.toString()).toBe(
    'chunked short',
  )
  expect((await front.ask(alice, { method: 'DELETE' })).body.toString()).toBe('undefined ')
})

test.each(ways)('trailers of requests and answers arrive behind their bodies %s', async (way) => {
  await using provider = await openOrigin(async (request, response) => {
    const body = await buffer(request)
    response.writeHead(200, { trailer: 'X-Sum' })
    response.write(body)
    response.addTrailers([
      ['X-Sum', String(body.length)],
      ['x-seen', JSON.stringify(request.rawTrailers)],
    ])
    response.end()
  })
  await using front = await openFront(way, provider.port)
  const request = front.send(alice, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
  request.write('body')
  // What decides over a message cannot be said behind it, and nobody else speaks for a gateway.
  request.addTrailers([
    ['X-Check', 'ü'],
    ['Authorization', 'Bearer forged'],
    ['X-Forwarded-For', '6.6.6.6'],
    ['Set-Cookie', 'a=1'],
    ['Khachapuri-Payer', 'somebody'],
  ])
  request.end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  expect(await text(answer)).toBe('body')
  expect(answer.rawTrailers.slice(0, 2)).toEqual(['X-Sum', '4'])
  expect(answer.trailers['x-seen']).toBe(JSON.stringify(['X-Check', 'ü']))
})

test.each(ways)('an answer without a body may have trailers, too, %s', async (way) => {
  await using provider = await openOrigin((_, response) => {
    response.writeHead(200, { trailer: 'x-status' }).flushHeaders()
    response.addTrailers([['x-status', 'empty']])
    response.end()
  })
  await using front = await openFront(way, provider.port)
  const request = front.send(alice).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  expect(await text(answer)).toBe('')
  expect(answer.trailers).toEqual({ 'x-status': 'empty' })
})

test.each(ways)('an answer may come before the body has been read %s', async (way) => {
  await using provider = await openOrigin((_, response) => {
    response.writeHead(413, { 'content-length': 8 }).end('too much')
  })
  await using front = await openFront(way, provider.port)
  const request = front.send(alice, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
  request.write('the beginning')
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  expect([answer.statusCode, await text(answer)]).toEqual([413, 'too much'])
  request.destroy()
})

test.each(ways)('who waits for 100 Continue is told to go on %s', async (way) => {
  await using provider = await openOrigin((request, response) => void request.pipe(response))
  await using front = await openFront(way, provider.port)
  const headers = { expect: '100-continue', 'content-length': 4 }
  const request = front.send(alice, { method: 'PUT', headers })
  request.flushHeaders()
  await once(request, 'continue')
  request.end('body')
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  expect(await text(answer)).toBe('body')
})

test.each(ways)(
  'who leaves in the middle of its request, or of the answer, is gone for the provider %s',
  async (way) => {
    const gone: string[] = []
    await using provider = await openOrigin((request, response) => {
      response.on('close', () => response.writableFinished || gone.push(request.method ?? ''))
      request.resume()
      if (request.method === 'GET') response.write('some of it')
    })
    await using front = await openFront(way, provider.port)
    const uploading = leaving(front.send(alice, { method: 'POST', headers: { 'content-length': MiB } }))
    uploading.write(Buffer.alloc(1000))
    await until(() => provider.requests() === 1)
    uploading.destroy()
    await until(() => gone.length === 1)

    const reading = leaving(front.send(alice).end())
    const [answer] = (await once(reading, 'response')) as [IncomingMessage]
    await once(
      answer.on('error', () => undefined),
      'data',
    )
    reading.destroy()
    await until(() => gone.length === 2)
    expect(gone).toEqual(['POST', 'GET'])
  },
)

test.each(ways)('a provider that breaks off in the middle is broken off for its caller %s', async (way) => {
  await using provider = await openOrigin((request, response) => {
    response.writeHead(200, { 'content-length': request.url === '/length' ? 100 : '' })
    response.write('half')
    setImmediate(() => response.destroy())
  })
  await using front = await openFront(way, provider.port)
  const answer = await front.sendRaw(`GET /length HTTP/1.1\r\nHost: ${alice}\r\n\r\n`)
  expect(answer.endsWith('half')).toBe(true)
  expect(answer).toContain('content-length: 100')
})

test.each(allWays)(
  'a provider that refuses is never sent the body that waits for its word %s',
  async (way) => {
    let asked = 0
    await using provider = await openOrigin((_, response) => response.end())
    provider.server.on('checkContinue', (request, response) => {
      asked++
      request.on('data', () => expect.unreachable('nobody asked for it'))
      request.pause()
      response.writeHead(402, { connection: 'close' }).end('pay first')
    })
    await using front = await openFront(way, provider.port)
    const headers = { expect: '100-continue', 'transfer-encoding': 'chunked' }
    for (let i = 0; i < 3; i++) {
      const request = leaving(front.send(alice, { method: 'PUT', headers }))
      request.on('continue', () => expect.unreachable('the provider did not ask for it'))
      request.flushHeaders()
      const [answer] = (await once(request, 'response')) as [IncomingMessage]
      expect([answer.statusCode, await text(answer)]).toEqual([402, 'pay first'])
      // Whoever sent the body after all could have it taken for another request.
      expect(answer.headers.connection).toBe('close')
      request.destroy()
    }
    expect(asked).toBe(3)
    expect((await front.ask(alice)).status).toBe(200)
  },
)

test.each(allWays)('a server that never says 100 Continue gets the body after a while %s', async (way) => {
  await using provider = await openRawOrigin((socket, bytes) => {
    if (bytes.includes('body')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  })
  await using front = await openFront(way, Number(new URL(provider.url).port))
  const headers = { expect: '100-continue', 'content-length': 4 }
  const request = front.send(alice, { method: 'PUT', headers })
  request.flushHeaders()
  await once(request, 'continue')
  request.end('body')
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  expect(await text(answer)).toBe('ok')
})

const largeBytes = 64 * MiB
const bufferedBytesMax = 24 * MiB

test.each(ways)('64 MiB up and 64 MiB down are never held %s', async (way) => {
  await using provider = await openOrigin(async (request, response) => {
    let bytes = 0
    for await (const part of request) {
      bytes += (part as Buffer).length
      memory.look()
    }
    if (request.method === 'POST') response.end(String(bytes))
    else pieces(largeBytes).pipe(response)
  })
  await using front = await openFront(way, provider.port)
  const memory = watchMemory()
  const upload = front.send(alice, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
  pieces(largeBytes).pipe(upload)
  const [counted] = (await once(upload, 'response')) as [IncomingMessage]
  expect(await text(counted)).toBe(String(largeBytes))

  const download = front.send(alice).end()
  const [answer] = (await once(download, 'response')) as [IncomingMessage]
  let bytes = 0
  for await (const part of answer) {
    bytes += (part as Buffer).length
    memory.look()
  }
  expect(bytes).toBe(largeBytes)
  expect(memory.grownBytes()).toBeLessThan(bufferedBytesMax)
})

const leaving = (request: ClientRequest) => request.on('error', () => undefined)

/** Zeros as they come off a disk. */
function pieces(bytes: number): Readable {
  const piece = Buffer.alloc(64 * 1024)
  let left = bytes
  return new Readable({
    read() {
      left -= piece.length
      this.push(left >= 0 ? piece : null)
    },
  })
}

/** How much more this process holds outside the JavaScript heap, where bodies are, at its highest, after collection. */
function watchMemory() {
  const beforeBytes = process.memoryUsage().arrayBuffers
  const grownBytes = () => process.memoryUsage().arrayBuffers - beforeBytes
  let highestBytes = 0
  let looks = 0
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  return {
    look() {
      // Looking costs as much as a piece.
      if (looks++ % 16 > 0) return
      if (grownBytes() >= bufferedBytesMax) collect()
      // Buffers are given back by another thread; the next turn of the collector waits for it.
      if (grownBytes() >= bufferedBytesMax) collect()
      highestBytes = Math.max(highestBytes, grownBytes())
    },
    grownBytes: () => highestBytes,
  }
}
