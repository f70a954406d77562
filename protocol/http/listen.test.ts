import { once } from 'node:events'
import { get, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { ProtocolError } from '../errors.ts'
import { listen } from './listen.ts'
import { sendProblem } from './problem-response.ts'

const local = { host: '127.0.0.1', port: 0 }

/** Sends bytes as they are, and reads until the server closes. */
async function sendRaw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(bytes, 'latin1')
  return text(socket)
}

test('a port that is taken is told with its number and what to do', async () => {
  await using first = await listen({ ...local, onRequest: (_, response) => response.end() })
  const second = listen({ ...local, port: first.port, onRequest: () => undefined })
  await expect(second).rejects.toMatchObject({ code: 'port_taken', details: { port: first.port } })
})

test('an address of another machine is a mistake in the configuration', async () => {
  const listener = listen({ host: '192.0.2.1', port: 0, onRequest: () => undefined })
  await expect(listener).rejects.toMatchObject({ code: 'config_invalid' })
})

test('closing lets the request in flight finish, and takes no other', async () => {
  const held = Promise.withResolvers<() => void>()
  const listener = await listen({
    ...local,
    onRequest: (_, response) => held.resolve(() => response.end('finished')),
  })
  const answer = new Promise<string>((resolve) => get(listener.url, (response) => resolve(text(response))))
  const finish = await held.promise
  const closed = listener[Symbol.asyncDispose]()
  const refused = connect(listener.port, '127.0.0.1')
  await expect(once(refused, 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  finish()
  expect(await answer).toBe('finished')
  await closed
})

test('what never finishes ends when the time for closing is over', async () => {
  const arrived = Promise.withResolvers<void>()
  const listener = await listen({ ...local, shutdownTimeoutMs: 20, onRequest: () => arrived.resolve() })
  const answer = sendRaw(listener.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await arrived.promise
  await listener[Symbol.asyncDispose]()
  expect(await answer.catch(() => '')).toBe('')
})

test.each([
  ['no HTTP at all', 'hello there\r\n\r\n', '400', 'bad_request'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', '400', undefined],
  [
    'two framings',
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n',
    '400',
    'bad_request',
  ],
  [
    'endless headers',
    `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`,
    '431',
    'headers_too_large',
  ],
  ['CONNECT', 'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n', '405', 'method_not_allowed'],
])('%s is refused with a reason', async (_, bytes, status, code) => {
  await using listener = await listen({ ...local, onRequest: (__, response) => response.end('reached') })
  const answer = await sendRaw(listener.port, bytes)
  expect(answer.split(' ')[1]).toBe(status)
  if (code) expect(JSON.parse(answer.split('\r\n\r\n')[1]!).code).toBe(code)
})

test('a WebSocket handshake goes to its handler, any other upgrade is an ordinary request', async () => {
  await using listener = await listen({
    ...local,
    onRequest: (_, response) => response.end('ordinary'),
    onUpgrade: (_, socket) => socket.end('taken'),
  })
  const upgrade = (to: string) =>
    `GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: ${to}\r\n\r\n`
  expect(await sendRaw(listener.port, upgrade('WebSocket'))).toBe('taken')
  expect(await sendRaw(listener.port, upgrade('h2c'))).toContain('HTTP/1.1 200')
})

test('a failure after the answer has begun breaks it off instead of ending it well', async () => {
  await using listener = await listen({
    ...local,
    onRequest(_, response) {
      response.writeHead(200, ['content-length', '10'])
      response.write('half', () => sendProblem(response, new Error('late')))
    },
  })
  const answer = await sendRaw(listener.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  expect(answer.endsWith('half')).toBe(true)
})

test('nonsense in the middle of a body breaks the answer off instead of adding a second one', async () => {
  await using listener = await listen({
    ...local,
    onRequest(request, response) {
      response.writeHead(200, ['content-length', '1000'])
      response.write('half')
      request.resume()
    },
  })
  const socket = connect(listener.port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
  socket.once('data', () => socket.write('nonsense\r\n'))
  const answer = await text(socket).catch(() => '')
  expect(answer).not.toContain('400')
})

test('an unexpected failure says nothing about itself', async () => {
  await using listener = await listen({
    ...local,
    onRequest: (request, response) =>
      sendProblem(
        response,
        request.url === '/known'
          ? new ProtocolError('not_found', 'There is nothing here.', { hint: 'Look elsewhere.' })
          : new TypeError('/secret/path is undefined'),
      ),
  })
  const unknown = await fetch(listener.url)
  expect(unknown.status).toBe(500)
  expect(await unknown.text()).not.toContain('secret')
  const known = await fetch(new URL('/known', listener.url))
  expect(known.headers.get('content-type')).toBe('application/problem+json')
  expect(await known.json()).toMatchObject({ code: 'not_found', status: 404, hint: 'Look elsewhere.' })
})

test('a head that comes too slowly is told so', async () => {
  await using listener = await listen({
    host: '127.0.0.1',
    port: 0,
    headerTimeoutMs: 20,
    onRequest: (_, response) => void response.end(),
  })
  const socket = connect(listener.port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n')
  expect(await text(socket)).toMatch(/^HTTP\/1\.1 408 [\s\S]*request_timeout/)
})

test('a head that never ends has no more time for all its bytes', async () => {
  await using listener = await listen({
    ...local,
    headerTimeoutMs: 20,
    onRequest: () => expect.unreachable('it never ends'),
  })
  const socket = connect(listener.port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n')
  const answer = text(socket)
  const dripping = setInterval(() => socket.write('X: y\r\n'), 5)
  expect(await answer.finally(() => clearInterval(dripping))).toMatch(
    /^HTTP\/1\.1 408 [\s\S]*request_timeout/,
  )
})

test('a body that waits to be asked for is asked for where it is read, and only there', async () => {
  await using listener = await listen({
    ...local,
    onRequest(request, response) {
      if (request.url === '/read') void text(request).then((body) => response.end(body))
      else response.writeHead(402, ['content-length', '0']).end()
    },
  })
  const ask = (path: string) => {
    const headers = { expect: '100-continue', 'content-length': 4 }
    const asking = request({ port: listener.port, path, method: 'PUT', headers, agent: false })
    asking.on('error', () => undefined).flushHeaders()
    return asking
  }
  const read = ask('/read')
  await once(read, 'continue')
  read.end('body')
  expect(await text((await once(read, 'response'))[0])).toBe('body')

  const refused = ask('/refused').on('continue', () => expect.unreachable('nobody reads it'))
  const [answer] = (await once(refused, 'response')) as [IncomingMessage]
  expect([answer.statusCode, answer.headers.connection]).toEqual([402, 'close'])
  refused.destroy()
})
