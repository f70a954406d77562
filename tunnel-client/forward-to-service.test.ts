import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener as HttpListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { MiB } from '../protocol/base/bytes.ts'
import { systemClock } from '../protocol/base/clock.ts'
import { readCode, setupTunnel, until } from '../test/support/tunnels.ts'
import { type ForwardedRequest, forwardToService } from './forward-to-service.ts'

/** A web server of this machine that knows nothing of tunnels. */
async function startService(listener: HttpListener, port = 0) {
  const server = createServer(listener).listen(port, '127.0.0.1')
  await once(server, 'listening')
  const { port: bound } = server.address() as AddressInfo
  return {
    server,
    url: new URL(`http://127.0.0.1:${bound}`),
    port: bound,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The same behind a tunnel, with all that was told of its requests. */
async function setup(service: URL, options: { hostHeader?: string } = {}) {
  const seen: ForwardedRequest[] = []
  const forwarder = forwardToService(
    { clock: systemClock },
    { service, onRequest: (one) => seen.push(one), ...options },
  )
  const at = await setupTunnel(forwarder.serve)
  return {
    url: at.gateway.url,
    seen,
    async [Symbol.asyncDispose]() {
      await at[Symbol.asyncDispose]()
      forwarder[Symbol.dispose]()
    },
  }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

test('a web server is reached with every byte, header and status, and sees the host that was called', async () => {
  await using service = await startService(async (request, response) => {
    const body = await buffer(request)
    response.writeHead(207, [
      'X-Twice',
      '1',
      'x-twice',
      '2',
      'X-Seen',
      `${request.method} ${request.url} ${request.headers.host}`,
    ])
    response.end(body)
  })
  await using at = await setup(service.url)
  const sent = randomBytes(3 * MiB + 1)
  for (const body of [sent, sent.subarray(0, 10)]) {
    const answer = await fetch(`${at.url}/a%20b?x=1`, { method: 'PUT', body })
    expect([answer.status, answer.headers.get('x-twice'), answer.headers.get('x-seen')]).toEqual([
      207,
      '1, 2',
      `PUT /a%20b?x=1 ${new URL(at.url).host}`,
    ])
    expect(digest(await answer.bytes())).toBe(digest(body))
  }
  expect((await fetch(at.url, { method: 'HEAD' })).status).toBe(207)
  await until(() => at.seen.length === 3)
  expect(at.seen.map(({ method, path, status, error }) => ({ method, path, status, error }))).toEqual([
    { method: 'PUT', path: '/a%20b', status: 207, error: undefined },
    { method: 'PUT', path: '/a%20b', status: 207, error: undefined },
    { method: 'HEAD', path: '/', status: 207, error: undefined },
  ])
})

test('a web server that checks its host sees the one that it is told', async () => {
  await using service = await startService((request, response) =>
    response.end(request.rawHeaders.filter((name) => /^host$/i.test(name)).join() + request.headers.host),
  )
  await using at = await setup(service.url, { hostHeader: 'localhost:5173' })
  expect(await (await fetch(at.url)).text()).toBe('hostlocalhost:5173')
})

test('a web server that is down has a code of its own and is told nothing else of, and is found again once it is up', async () => {
  const first = await startService((_, response) => response.end('up'))
  const { url, port } = first
  await using at = await setup(url)
  expect(await (await fetch(at.url)).text()).toBe('up')
  await first[Symbol.asyncDispose]()
  for (const method of ['GET', 'POST']) {
    const answer = await fetch(at.url, { method })
    expect(answer.status).toBe(502)
    const text = await answer.text()
    expect(JSON.parse(text)).toMatchObject({ code: 'local_service_down', retryable: true })
    expect(text).not.toMatch(new RegExp(`127\\.0|ECONN|${port}`))
  }
  await using _second = await startService((_, response) => response.end('again'), port)
  expect(await (await fetch(at.url)).text()).toBe('again')
  await until(() => at.seen.length === 4)
  expect(at.seen[1]).toMatchObject({
    status: 502,
    error: { code: 'local_service_down', cause: { code: 'ECONNREFUSED' } },
  })
})

test('an answer that breaks off is broken for the caller; what speaks no HTTP is no answer', async () => {
  await using service = await startService((_, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('half', () => response.destroy())
  })
  await using at = await setup(service.url)
  await expect(fetch(at.url).then((answer) => answer.text())).rejects.toThrow()

  const noHttp = createTcpServer((socket) => socket.write('SSH-2.0-OpenSSH\r\n\r\n')).listen(0, '127.0.0.1')
  await once(noHttp, 'listening')
  await using other = await setup(new URL(`http://127.0.0.1:${(noHttp.address() as AddressInfo).port}`))
  expect(await readCode(await fetch(other.url))).toBe('provider_answer_invalid')
  noHttp.close()
})

test('events arrive as they are written, and a caller that leaves is heard of', async () => {
  const gone = Promise.withResolvers<void>()
  await using service = await startService((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: 1\n\n')
    response.on('close', () => gone.resolve())
  })
  await using at = await setup(service.url)
  const leave = new AbortController()
  const answer = await fetch(at.url, { signal: leave.signal })
  const reader = answer.body!.getReader()
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('data: 1\n\n')
  leave.abort()
  await gone.promise
  await until(() => at.seen.length === 1)
})

test('WebSockets that stay take no request its place', async () => {
  await using service = await startService((_, response) => response.end('served'))
  const { server } = service
  server.on('upgrade', (_, socket) => {
    socket
      .on('error', () => undefined)
      .on('end', () => socket.end())
      .resume()
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  })
  using forwarder = forwardToService({ clock: systemClock }, { service: service.url, connectionsMax: 1 })
  await using at = await setupTunnel(forwarder.serve)
  const switched = Promise.withResolvers<number>()
  const exchange = at.gateway.hub.upstreamFor(at.account.address)?.send(
    {
      method: 'GET',
      target: '/',
      rawHeaders: ['host', 'a'],
      switchesTo: 'websocket',
      body: new PassThrough(),
    },
    { onHead: switched.resolve, onData() {}, onEnd() {}, onError: switched.reject },
  )
  expect(await switched.promise).toBe(101)
  for (let n = 0; n < 3; n++) expect(await (await fetch(at.gateway.url)).text()).toBe('served')
  exchange?.abort()
})
