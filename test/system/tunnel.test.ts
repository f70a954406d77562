import { createHash } from 'node:crypto'
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import type { IncomingRequest, OutgoingResponse, RequestListener } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createPresentClock, readCode, setupFarTunnel, setupTunnel, until } from '../support/tunnels.ts'

const patternBytes = 2 * MiB
const pattern = Buffer.from(
  Array.from({ length: patternBytes }, (_, index) => (index * 7 + (index >> 8) * 13) & 0xff),
)
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const echo: RequestListener = (request, response) => {
  response.writeHead(200, ['content-type', 'application/octet-stream'])
  request.pipe(response)
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

/** Opens a request and gives its answer's head as soon as it is there. */
function begin(
  url: string,
  options: { method?: string } = {},
): { call: ClientRequest; answer: Promise<IncomingMessage> } {
  const call = httpRequest(url, { ...options, agent: false })
  const answer = new Promise<IncomingMessage>((resolve, reject) =>
    call.on('response', resolve).on('error', reject),
  )
  answer.catch(() => undefined)
  call.on('error', () => undefined)
  return { call, answer }
}

describe('a request through a tunnel', () => {
  test('reaches a plain handler, and the answer keeps the case, order and duplicates of its headers', async () => {
    await using setup = await setupTunnel((request, response) => {
      response.writeHead(201, ['X-Case', 'Kept', 'x-case', 'twice', 'content-type', 'text/plain'])
      response.end(`${request.method} ${request.url} ${request.headers['x-a']}`)
    })
    const { call, answer } = begin(`${setup.gateway.url}/path?q=1`)
    call.setHeader('x-a', ['b', 'c'])
    call.end()
    const head = await answer
    expect([head.statusCode, head.rawHeaders.slice(0, 8)]).toEqual([
      201,
      ['X-Case', 'Kept', 'x-case', 'twice', 'content-type', 'text/plain', 'content-length', '18'],
    ])
    expect((await readAll(head)).toString()).toBe('GET /path?q=1 b, c')
  })

  test('reaches a Hono app', async () => {
    const app = new Hono()
    app.get('/hello/:name', (c) => c.json({ hello: c.req.param('name') }))
    app.post('/echo', async (c) => c.body(await c.req.arrayBuffer()))
    app.post('/stream', (c) => c.body(c.req.raw.body as ReadableStream))
    app.post('/unread', (c) => c.text('not read'))
    app.get('/empty', (c) => c.body(null, 204))
    const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
    await using setup = await setupTunnel(listener as unknown as RequestListener)
    const { url } = setup.gateway
    expect(await (await fetch(`${url}/hello/world`)).json()).toEqual({ hello: 'world' })
    for (const path of ['/echo', '/stream']) {
      const answer = await fetch(url + path, {
        method: 'POST',
        body: pattern,
        headers: { 'content-type': 'a/b' },
      })
      expect(digest(await answer.bytes())).toBe(digest(pattern))
    }
    expect(await (await fetch(`${url}/unread`, { method: 'POST', body: 'small' })).text()).toBe('not read')
    expect((await fetch(`${url}/empty`)).status).toBe(204)
    expect((await fetch(`${url}/hello/world`, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(`${url}/nowhere`)).status).toBe(404)
    await until(() => setup.gateway.hub.connected().every(({ streams }) => streams === 0))
  })

  test('carries 150 bodies of any size both ways at the same time, without a wrong byte', async () => {
    await using setup = await setupTunnel(echo)
    const agent = new Agent({ keepAlive: true, maxSockets: 40 })
    const post = (index: number) =>
      new Promise<void>((resolve, reject) => {
        const body = pattern.subarray(index * 1000, index * 1000 + ((index * index * 37) % 400_000))
        const headers = index % 2 === 0 ? { 'content-length': body.length } : {}
        const call = httpRequest(setup.gateway.url, { method: 'POST', agent, headers })
        call.on('error', reject)
        call.on('response', async (answer) => {
          const answered = await readAll(answer)
          if (digest(answered) === digest(body)) resolve()
          else reject(new Error(`${answered.length} bytes of ${body.length}`))
        })
        for (let at = 0; at < body.length; at += 100 + index * 500)
          call.write(body.subarray(at, at + 100 + index * 500))
        call.end()
      })
    await Promise.all(Array.from({ length: 150 }, (_, index) => post(index)))
    agent.destroy()
    await until(() => setup.gateway.hub.connected().every(({ streams }) => streams === 0))
  })

  test('that was read before it went, body and all, comes with one length', async () => {
    const heads: (readonly string[])[] = []
    await using setup = await setupTunnel((request, response) => {
      heads.push(request.rawHeaders)
      echo(request, response)
    })
    const parts: Buffer[] = []
    await new Promise<void>((resolve, reject) =>
      setup.gateway.hub.upstreamFor(setup.account.address)?.send(
        { method: 'POST', target: '/', rawHeaders: ['Content-Length', '4'], body: Buffer.from('body') },
        {
          onHead: () => undefined,
          onData: (chunk) => void parts.push(chunk),
          onEnd: () => resolve(),
          onError: reject,
        },
      ),
    )
    expect([heads, Buffer.concat(parts).toString()]).toEqual([[['content-length', '4']], 'body'])
  })

  test('is answered before its body has ended, where the handler likes', async () => {
    await using setup = await setupTunnel((request, response) => {
      request.once('data', () => response.end('enough'))
    })
    const { call, answer } = begin(setup.gateway.url, { method: 'POST' })
    call.write('first')
    expect((await readAll(await answer)).toString()).toBe('enough')
    call.destroy()
    await until(() => setup.gateway.hub.connected().every(({ streams }) => streams === 0))
  })

  test('streams: each part arrives when it is written', async () => {
    const parts: OutgoingResponse[] = []
    await using setup = await setupTunnel((_, response) => {
      response.writeHead(200, ['content-type', 'text/event-stream'])
      response.write('data: 1\n\n')
      parts.push(response)
    })
    const { call, answer } = begin(setup.gateway.url)
    call.end()
    const reader = (await answer)[Symbol.asyncIterator]()
    expect(String((await reader.next()).value)).toBe('data: 1\n\n')
    parts[0]?.write('data: 2\n\n')
    expect(String((await reader.next()).value)).toBe('data: 2\n\n')
    parts[0]?.end()
    expect((await reader.next()).done).toBe(true)
  })

  test('whose caller goes is cancelled at the handler, before and in the middle of the answer', async () => {
    const gone: string[] = []
    await using setup = await setupTunnel((request, response) => {
      response.on('close', () => gone.push(`${request.url} ${response.writableFinished}`))
      if (request.url === '/middle') {
        response.writeHead(200, [])
        response.write('x')
      }
    })
    const before = begin(`${setup.gateway.url}/before`)
    before.call.end()
    await until(() => setup.gateway.hub.connected().some(({ streams }) => streams > 0))
    const middle = begin(`${setup.gateway.url}/middle`)
    middle.call.end()
    await middle.answer
    before.call.destroy()
    middle.call.destroy()
    await until(() => gone.length === 2)
    expect(gone.sort()).toEqual(['/before false', '/middle false'])
    expect(setup.gateway.hub.connected().map(({ streams }) => streams)).toEqual([0, 0])
  })

  test('whose upload breaks off is aborted at the handler, as an error only if it listens for one', async () => {
    const seen: string[] = []
    const requests: IncomingRequest[] = []
    await using setup = await setupTunnel((request) => {
      requests.push(request)
      request.on('close', () => seen.push(`closed ${request.readableEnded}`))
      if (request.url === '/listening') request.on('error', () => seen.push('error'))
      request.resume()
    })
    for (const path of ['/listening', '/deaf']) {
      const { call } = begin(setup.gateway.url + path, { method: 'POST' })
      call.write('part')
      await until(() => requests.some(({ url }) => url === path))
      call.destroy()
      await until(() => seen.at(-1) === 'closed false')
      expect(seen.splice(0)).toEqual(path === '/listening' ? ['error', 'closed false'] : ['closed false'])
    }
  })

  test('that the handler breaks off is a 502 before the head, and a broken answer after it', async () => {
    await using setup = await setupTunnel((request, response) => {
      if (request.url === '/late') {
        response.writeHead(200, ['content-length', '100'])
        response.write('half')
      }
      setImmediate(() => response.destroy())
    })
    const early = await fetch(`${setup.gateway.url}/early`)
    expect([early.status, await readCode(early)]).toEqual([502, 'provider_answer_invalid'])
    const late = await fetch(`${setup.gateway.url}/late`)
    await expect(late.text()).rejects.toThrow()
  })

  test('whose handler throws is a problem, and the tunnel goes on', async () => {
    await using setup = await setupTunnel((request, response) => {
      if (request.url === '/throw') throw new TypeError('/secret/path')
      response.end('fine')
    })
    const thrown = await fetch(`${setup.gateway.url}/throw`)
    const problem = await thrown.text()
    expect([thrown.status, JSON.parse(problem).code, problem.includes('secret')]).toEqual([
      500,
      'internal',
      false,
    ])
    expect(await (await fetch(setup.gateway.url)).text()).toBe('fine')
  })
})

describe('slow readers', () => {
  test('that stall hold nobody else up, and nobody writes into memory for them', async () => {
    let written = 0
    await using setup = await setupTunnel((request, response) => {
      if (request.url === '/small') {
        response.end('small')
        return
      }
      const chunk = Buffer.alloc(64 * 1024)
      const proceed = () => {
        while (!response.destroyed && written < 512 * MiB) {
          written += chunk.length
          if (!response.write(chunk)) return
        }
        response.end()
      }
      response.on('drain', proceed)
      proceed()
    })
    const stalled = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { call, answer } = begin(`${setup.gateway.url}/large`)
        call.end()
        const head = await answer
        head.pause()
        return call
      }),
    )
    for (let round = 0; round < 50; round++) {
      expect(await (await fetch(`${setup.gateway.url}/small`)).text()).toBe('small')
    }
    // Kernel buffers take a few MiB for each connection; windows 256 KiB and a little.
    expect(written).toBeLessThan(10 * 10 * MiB)
    for (const call of stalled) call.destroy()
    await until(() => setup.gateway.hub.connected().every(({ streams }) => streams === 0))
  })

  test('get all of it, at their own speed', async () => {
    await using setup = await setupTunnel((_, response) => {
      response.writeHead(200, ['content-length', String(pattern.length)])
      response.end(pattern)
    })
    const { call, answer } = begin(setup.gateway.url)
    call.end()
    const head = await answer
    const hash = createHash('sha256')
    for await (const part of head) {
      hash.update(part)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(hash.digest('hex')).toBe(digest(pattern))
  })
})

test('a provider that says nothing for two minutes is a 504, and is told to stop', async () => {
  const gatewayClock = createPresentClock()
  let isGone = false
  await using setup = await setupTunnel(
    (request, response) => {
      if (request.url === '/quick') response.end()
      else response.on('close', () => (isGone = true))
    },
    { gatewayClock, sockets: 1 },
  )
  const waiting = fetch(setup.gateway.url)
  for (let elapsedMs = 0; elapsedMs <= limits.firstByteTimeoutMs + 4_000; elapsedMs += 2_000) {
    await gatewayClock.advance(2_000)
    // A round trip, in which the pings of this time are answered.
    await fetch(`${setup.gateway.url}/quick`)
  }
  const answer = await waiting
  expect([answer.status, await readCode(answer)]).toEqual([504, 'call_timeout'])
  await until(() => isGone)
})

test('a window of a long line grows until the line is full, so that far away is not slow', async () => {
  const bytes = 24 * MiB
  const chunk = Buffer.alloc(64 * 1024, 1)
  // 25 ms each way. What is on its way at a time is what the window lets through in a round trip.
  await using at = await setupFarTunnel(
    (_, response) => {
      let left = bytes
      const proceed = () => {
        while (left > 0) {
          left -= chunk.length
          if (!response.write(chunk)) return
        }
        response.end()
      }
      response.writeHead(200, ['content-length', String(bytes)])
      response.on('drain', proceed)
      proceed()
    },
    { delayMs: 25, sockets: 1 },
  )
  await until(() => at.gateway.hub.connected()[0]?.rttMs !== undefined)
  const answer = await fetch(at.gateway.url)
  expect((await answer.bytes()).length).toBe(bytes)
  const [line] = at.relay.connections
  expect(line?.bytesOnTheWayPeak).toBeGreaterThan(4 * limits.streamWindowBytesMin)
})
