import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import type { Egress } from '../../protocol/egress.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type EgressProxy,
  type EgressProxyOptions,
  openEgressProxy,
} from '../../provider/egress/egress-proxy.ts'
import { createSandbox } from '../../provider/runtime/sandbox/sandbox.ts'
import { attackOurselves } from '../../provider/runtime/self-test.ts'
import {
  countSockets,
  createNames,
  egressSockets,
  type Names,
  openEgressBench,
  take,
} from '../support/egress.ts'
import { openOrigin, openRawOrigin } from '../support/http-origin.ts'
import { sendCall } from '../support/send-call.ts'

const never = new AbortController().signal

interface Door extends AsyncDisposable {
  readonly proxy: EgressProxy
  readonly names: Names
  /** Sends bytes as they are; what came back until the proxy closed, or the program did after `until`. */
  send(bytes: string, options?: { readonly until?: string }): Promise<string>
  open(): Promise<Socket>
}

/** A proxy for a program that is not workerd but whatever the test wants to be: as if the runtime had been taken over. */
async function openDoor(
  egress: Egress,
  {
    allowPrivate = true,
    calls = 1,
    ...options
  }: Partial<EgressProxyOptions> & { allowPrivate?: boolean; calls?: number } = {},
): Promise<Door> {
  const folder = await mkdtemp(join(tmpdir(), 'egress-'))
  const socketPath = join(folder, 'e')
  const names = createNames()
  const network = { lookup: names.lookup, allowPrivate }
  const proxy = await openEgressProxy({ network }, { ...options, at: { socketPath }, egress })
  for (let i = 0; i < calls; i++) proxy.budget.callBegan()
  const open = async () => {
    const socket = connect(socketPath)
    await once(socket, 'connect')
    return socket.on('error', () => undefined)
  }
  return {
    proxy,
    names,
    open,
    async send(bytes, { until } = {}) {
      const socket = await open()
      let seen = ''
      socket.on('data', (chunk) => {
        seen += chunk.toString('latin1')
        if (until !== undefined && seen.includes(until)) socket.destroy()
      })
      socket.write(bytes, 'latin1')
      await new Promise((resolve) => socket.once('close', resolve))
      return seen
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

const get = (url: string, headers = '') => `GET ${url} HTTP/1.1\r\nconnection: close\r\n${headers}\r\n`
const codeOf = (answer: string) => /^khachapuri-egress: (\S+)\r$/im.exec(answer)?.[1]

describe('addresses', () => {
  const inside = [
    'http://127.0.0.1/',
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://0x7f.0.0.1/',
    'http://0177.0.0.1/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[::127.0.0.1]/',
    'http://0.0.0.0/',
    'http://0/',
    'http://[::]/',
    'http://localhost/',
    'http://x.localhost/',
    'http://10.0.0.1/',
    'http://172.16.0.1/',
    'http://192.168.0.1/',
    'http://100.64.0.1/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[fd00:ec2::254]/',
    'http://[fe80::1]/',
    'http://[64:ff9b::a9fe:a9fe]/',
    'http://[2002:7f00:1::]/',
    'http://[2001:0:7f00:1::]/',
    'http://[2001:db8::1]/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://192.0.2.1/',
    'https://127.0.0.1/',
    'https://[::1]/',
  ]

  test.each(inside)('%s is refused, to requests and to tunnels', async (url) => {
    await using door = await openDoor('public', { allowPrivate: false })
    door.names.set('localhost', ['127.0.0.1'])
    door.names.set('x.localhost', ['127.0.0.1'])
    expect(codeOf(await door.send(get(url)))).toBe('egress_address_blocked')
    const { hostname, protocol } = new URL(url)
    const place = `${hostname}:${protocol === 'https:' ? 443 : 80}`
    const answer = await door.send(`CONNECT ${place} HTTP/1.1\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 403 /)
    expect(codeOf(answer)).toBe('egress_address_blocked')
    // Nor does listing it help.
    await using listed = await openDoor([new URL(url).origin], { allowPrivate: false })
    listed.names.set('localhost', ['127.0.0.1'])
    listed.names.set('x.localhost', ['127.0.0.1'])
    expect(codeOf(await listed.send(get(url)))).toBe('egress_address_blocked')
  })

  test.each([
    'http://169.254.169.254/',
    'http://[::ffff:169.254.169.254]/',
    'http://[fd00:ec2::254]/',
    'http://[fe80::1]/',
    'http://168.63.129.16/',
    'http://metadata.example.test/',
  ])('%s is refused even where programs may reach this machine', async (url) => {
    await using door = await openDoor('public', { allowPrivate: true })
    door.names.set('metadata.example.test', ['169.254.169.254'])
    expect(codeOf(await door.send(get(url)))).toBe('egress_address_blocked')
  })

  test.each([
    ['this machine', ['127.0.0.1']],
    ['this machine among others', ['93.184.216.34', '127.0.0.1']],
    ['this machine, mapped into IPv6', ['::ffff:127.0.0.1']],
    ['no address', []],
  ])('a name that leads to %s is looked up once and not dialled', async (_, addresses) => {
    await using door = await openDoor('public', { allowPrivate: false })
    door.names.set('mallory.example.test', addresses)
    expect(codeOf(await door.send(get('http://mallory.example.test/')))).toBe('egress_address_blocked')
    expect(door.names.asked).toEqual(['mallory.example.test'])
  })

  test('a name that is public when it is looked at and this machine afterwards gains nothing', async () => {
    await using origin = await openOrigin((_, response) => response.end('inside'))
    const url = `http://rebind.example.test:${origin.port}`
    await using door = await openDoor([url], { allowPrivate: false })
    // Nobody answers at this address from here, or nothing that this test serves.
    door.names.set('rebind.example.test', ['2001:470:ffff::1'], ['127.0.0.1'])
    expect(codeOf(await door.send(get(`${url}/`)))).toMatch(/egress_(unreachable|timeout)/)
    expect(door.names.asked).toHaveLength(1)
    expect(codeOf(await door.send(get(`${url}/`)))).toBe('egress_address_blocked')
    expect(door.names.asked).toHaveLength(2)
    expect(origin.requests()).toBe(0)
  })

  test('the address that was checked is the one that is dialled, each time anew', async () => {
    await using origin = await openOrigin((_, response) =>
      response.setHeader('connection', 'close').end('here'),
    )
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url])
    door.names.set('api.example.test', ['127.0.0.1'], ['169.254.169.254'])
    expect(await door.send(get(`${url}/`))).toContain('here')
    expect(codeOf(await door.send(get(`${url}/`)))).toBe('egress_address_blocked')
    expect(origin.requests()).toBe(1)
  })
})

describe('requests', () => {
  test.each([
    [
      'a user name that looks like the host',
      (port: number) => get(`http://api.example.test:${port}@127.0.0.1:${port}/`),
    ],
    ['a path', () => get('/')],
    ['another scheme', () => get('ftp://api.example.test/')],
    [
      'two lengths',
      (port: number) => get(`http://api.example.test:${port}/`, 'content-length: 1\r\ncontent-length: 2\r\n'),
    ],
    [
      'a length beside chunks',
      (port: number) =>
        get(`http://api.example.test:${port}/`, 'content-length: 4\r\ntransfer-encoding: chunked\r\n'),
    ],
    [
      'chunks that are not the last',
      (port: number) => get(`http://api.example.test:${port}/`, 'transfer-encoding: chunked, gzip\r\n'),
    ],
    ['a folded header', (port: number) => get(`http://api.example.test:${port}/`, 'x-a: 1\r\n x-b: 2\r\n')],
    ['a header without a name', (port: number) => get(`http://api.example.test:${port}/`, ': 2\r\n')],
    ['a space before the colon', (port: number) => get(`http://api.example.test:${port}/`, 'x-a : 2\r\n')],
    ['a line feed alone', (port: number) => get(`http://api.example.test:${port}/`, 'x-a: 1\nx-b: 2\r\n')],
    ['a NUL', (port: number) => get(`http://api.example.test:${port}/`, 'x-a: \0\r\n')],
    [
      'headers beyond the limit',
      (port: number) => get(`http://api.example.test:${port}/`, `x-a: ${'a'.repeat(40_000)}\r\n`),
    ],
    ['no HTTP', () => 'hello\r\n\r\n'],
    ['TLS', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ])('one with %s reaches nobody', async (_, format) => {
    await using origin = await openOrigin((__, response) => response.end('reached'))
    await using door = await openDoor([`http://api.example.test:${origin.port}`])
    const answer = await door.send(format(origin.port))
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(codeOf(answer)).toBe('bad_request')
    expect(origin.requests()).toBe(0)
  })

  test('whatever stands in a body is body: no second request comes out of it', async () => {
    const seen: string[] = []
    await using origin = await openRawOrigin((socket, bytes) => {
      seen.push(bytes.toString('latin1'))
      if (seen.join('').endsWith('\r\n0\r\nx-trailer: 1\r\n\r\n'))
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    })
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using door = await openDoor([url])
    const inner = 'GET http://evil.example.test/ HTTP/1.1\r\n\r\nend'
    await door.send(
      `POST ${url}/ HTTP/1.1\r\nhost: evil.example.test\r\nconnection: close, x-hop\r\nx-hop: 1\r\nx-end: 2\r\nexpect: 200-maybe\r\nproxy-authorization: x\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n${inner.length.toString(16)};ext=1\r\n${inner}\r\n0\r\nhost: evil.example.test\r\nx-trailer: 1\r\n\r\n`,
      { until: 'ok' },
    )
    const sent = seen.join('')
    const host = url.slice('http://'.length)
    expect(
      sent.startsWith(`POST / HTTP/1.1\r\nhost: ${host}\r\nx-end: 2\r\ntransfer-encoding: chunked\r\n\r\n`),
    ).toBe(true)
    expect(sent.match(/HTTP\/1\.1/g)).toHaveLength(2)
    // Trailers go on, but none that speaks of the message.
    expect(sent.endsWith(`\r\n${inner}\r\n0\r\nx-trailer: 1\r\n\r\n`)).toBe(true)
  })

  test('a second request of the program’s is looked at like the first', async () => {
    await using origin = await openOrigin((_, response) => response.end('reached'))
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url])
    const answer = await door.send(`GET ${url}/ HTTP/1.1\r\n\r\n${get('http://evil.example.test/')}`)
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(codeOf(answer)).toBe('egress_not_allowed')
    expect(origin.requests()).toBe(1)
  })

  test('a WebSocket handshake and a method of another protocol are refused', async () => {
    await using origin = await openOrigin((_, response) => response.end('reached'))
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url])
    const upgrade = `GET ${url}/ HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`
    expect(codeOf(await door.send(upgrade, { until: '}' }))).toBe('websocket_unsupported')
    expect(await door.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
    expect(origin.requests()).toBe(0)
  })
})

describe('servers', () => {
  const ok = 'HTTP/1.1 200 OK\r\n'

  test.each([
    ['closes at once', '', 'egress_unreachable'],
    ['closes in the middle of its head', 'HTTP/1.1 200 O', 'egress_unreachable'],
    ['speaks no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', 'egress_answer_invalid'],
    ['has two lengths', `${ok}content-length: 1\r\ncontent-length: 2\r\n\r\nabc`, 'egress_answer_invalid'],
    ['has a line feed in a header', `${ok}x-a: 1\nset-cookie: b\r\n\r\n`, 'egress_answer_invalid'],
    ['has a head without end', `${ok}x-a: ${'a'.repeat(40_000)}`, 'egress_answer_invalid'],
    ['switches protocols', 'HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n', 'egress_answer_invalid'],
    ['has early answers without end', 'HTTP/1.1 103 Early\r\n\r\n'.repeat(100), 'egress_answer_invalid'],
  ])('one that %s is told of', async (_, bytes, code) => {
    await using origin = await openRawOrigin((socket) => socket.end(bytes, 'latin1'))
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using door = await openDoor([url])
    const answer = await door.send(get(`${url}/`))
    expect(answer).toMatch(/^HTTP\/1\.1 502 /)
    expect(codeOf(answer)).toBe(code)
  })

  test.each([
    ['a length', `${ok}content-length: 100\r\n\r\nhalf`],
    ['chunks', `${ok}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n`],
  ])('one that breaks off an answer with %s never looks done', async (_, bytes) => {
    await using origin = await openRawOrigin((socket) => socket.end(bytes))
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using door = await openDoor([url])
    const answer = await door.send(get(`${url}/`))
    expect(answer).toContain('half')
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/)

    await using bench = await openEgressBench()
    await using program = await bench.start({ egress: [url] })
    const [seen] = await take(program, [{ url }])
    expect(seen).toMatchObject({ status: 200, error: expect.stringContaining('connection') })
  })

  test('one that drips is cut off when the time of an exchange is over', async () => {
    const sockets = new Set<Socket>()
    await using origin = await openRawOrigin((socket) => {
      sockets.add(socket)
      socket.write(`${ok}transfer-encoding: chunked\r\n\r\n`)
      const timer = setInterval(() => socket.write('1\r\nx\r\n'), 20)
      socket.once('close', () => {
        clearInterval(timer)
        sockets.delete(socket)
      })
    })
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using door = await openDoor([url], { exchangeMsMax: 300, idleTimeoutMs: 200 })
    const answer = await door.send(get(`${url}/`))
    expect(answer).toContain('\r\nx\r\n')
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/)
    while (sockets.size > 0) await turn()

    const place = url.slice('http://'.length)
    const through = await door.send(`CONNECT ${place} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n`)
    expect(through).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*\r\nx\r\n/)
    // One drop each 20 ms, so that there are fifteen: other limits end it after many more.
    expect(through.split('x').length).toBeLessThan(50)
    while (sockets.size > 0) await turn()
  })

  test('one that says nothing is told of, whether it takes the connection or not', async () => {
    await using origin = await openRawOrigin(() => undefined)
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using door = await openDoor([url], { firstByteTimeoutMs: 100, idleTimeoutMs: 100 })
    const answer = await door.send(get(`${url}/`))
    expect(answer).toMatch(/^HTTP\/1\.1 504 /)
    expect(codeOf(answer)).toBe('egress_timeout')
  })

  test('one that is called by a program that keeps its call open is let go with the call', async () => {
    const events: string[] = []
    await using origin = await openRawOrigin((socket) => {
      const timer = setInterval(() => socket.write('1\r\nx\r\n'), 20)
      socket.write(`${ok}transfer-encoding: chunked\r\n\r\n`)
      socket.once('close', () => {
        clearInterval(timer)
        events.push('closed')
      })
    })
    const url = origin.url.replace('127.0.0.1', 'api.example.test')
    await using bench = await openEgressBench()
    await using program = await bench.start({ egress: [url], timeoutMs: 300 })
    const body = Buffer.from(JSON.stringify({ steps: [{ url }] }))
    const { outcome } = await sendCall(program, { method: 'POST', body })
    expect(outcome).toEqual({ kind: 'timeout', timeoutMs: 300 })
    while (events.length === 0) await turn()
  })
})

describe('bounds', () => {
  const perCall = { requests: 3, sentBytes: 100_000, receivedBytes: 100_000 }

  test('a call has so many requests, and the next one has them anew', async () => {
    await using origin = await openOrigin((_, response) => response.end('ok'))
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url], { perCall })
    for (let i = 0; i < 3; i++) expect(await door.send(get(url))).toMatch(/^HTTP\/1\.1 200 /)
    expect(codeOf(await door.send(get(url)))).toBe('egress_exhausted')
    expect(codeOf(await door.send(`CONNECT ${url.slice(7)} HTTP/1.1\r\n\r\n`))).toBe('egress_exhausted')
    expect(origin.requests()).toBe(3)
    door.proxy.budget.callEnded()
    door.proxy.budget.callBegan()
    expect(await door.send(get(url))).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('an answer without end is cut off where the call may receive no more', async () => {
    let isClosed = false
    await using origin = await openOrigin((_, response) => {
      response.on('close', () => {
        isClosed = true
      })
      const chunk = Buffer.alloc(16_384)
      const write = () => {
        while (response.write(chunk));
      }
      response.on('drain', write)
      write()
    })
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url], { perCall })
    const answer = await door.send(get(url))
    expect(answer.length).toBeLessThan(110_000)
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/)
    expect(codeOf(await door.send(get(url)))).toBe('egress_exhausted')
    while (!isClosed) await turn()
    expect(door.proxy.budget.used.receivedBytes).toBeLessThanOrEqual(perCall.receivedBytes)
  })

  test('a body and a tunnel without end are cut off where the call may send no more', async () => {
    let receivedBytes = 0
    const server = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .on('data', (chunk) => {
          receivedBytes += chunk.length
        })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://api.example.test:${(server.address() as AddressInfo).port}`
    await using door = await openDoor([url], { perCall })
    const socket = await door.open()
    socket.write(`POST ${url}/ HTTP/1.1\r\ncontent-length: 900000000\r\n\r\n`)
    const flood = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(16_384)));
    }
    socket.on('drain', flood)
    flood()
    expect(codeOf(await text(socket).catch(() => ''))).toBeOneOf(['egress_exhausted', undefined])
    expect(receivedBytes).toBeLessThanOrEqual(perCall.sentBytes)
    receivedBytes = 0
    door.proxy.budget.callEnded()
    door.proxy.budget.callBegan()
    await door.send(`CONNECT ${url.slice(7)} HTTP/1.1\r\n\r\n${'x'.repeat(200_000)}`)
    expect(receivedBytes).toBeLessThanOrEqual(perCall.sentBytes)
    server.close()
  })

  test('so many requests at once, and so many connections', async () => {
    const waiting: (() => void)[] = []
    await using origin = await openOrigin((_, response) => {
      waiting.push(() => response.end('ok'))
      origin.server.emit('came')
    })
    const url = `http://api.example.test:${origin.port}`
    await using door = await openDoor([url], { requestsInFlightMax: 4, calls: 10 })
    const answers = Array.from({ length: 4 }, () => door.send(get(url)))
    while (waiting.length < 4) await once(origin.server, 'came')
    expect(door.proxy.connections).toBe(4)
    for (let i = 0; i < 20; i++) expect(codeOf(await door.send(get(url)))).toBe('egress_busy')
    expect(codeOf(await door.send(`CONNECT ${url.slice(7)} HTTP/1.1\r\n\r\n`))).toBe('egress_busy')
    expect(door.proxy.connections).toBe(4)
    for (const answer of waiting.splice(0)) answer()
    for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('connections that are kept make room for others', async () => {
    const origins = await Promise.all(
      Array.from({ length: 6 }, () => openOrigin((_, response) => response.end('ok'))),
    )
    const urls = origins.map(({ port }, i) => `http://${i}.example.test:${port}`)
    await using door = await openDoor(urls, { connectionsMax: 2, requestsInFlightMax: 2 })
    for (const url of urls) {
      expect(await door.send(get(url))).toMatch(/^HTTP\/1\.1 200 /)
      expect(door.proxy.connections).toBeLessThanOrEqual(2)
    }
    for (const origin of origins) await origin[Symbol.asyncDispose]()
  })

  test('a program that opens connections to its proxy and says nothing is not listened to for ever', async () => {
    await using door = await openDoor(['http://api.example.test'], { requestsInFlightMax: 2 })
    const sockets = await Promise.all(Array.from({ length: 100 }, () => door.open()))
    const refused = sockets.filter((socket) => socket.destroyed || socket.readableEnded)
    await Promise.all(
      sockets.slice(16).map((socket) => (socket.closed ? undefined : once(socket.resume(), 'close'))),
    )
    expect(refused.length).toBeLessThanOrEqual(84)
    for (const socket of sockets) socket.destroy()
  })
})

describe('programs', async () => {
  const bench = await openEgressBench()
  afterAll(() => bench[Symbol.asyncDispose]())

  test('one that fails for what it used up of the network is told so, and one that copes is answered', async () => {
    await using origin = await openOrigin((_, response) => response.end('ok'))
    const url = `http://api.example.test:${origin.port}`
    const source = `export default {
      async fetch(request) {
        for (let i = 0; ; i++) {
          const answer = await fetch('${url}')
          if (answer.status === 200) await answer.text()
          else if (request.url.endsWith('/copes')) return new Response(i + ' ' + answer.headers.get('khachapuri-egress'))
          else throw new Error('I wanted more')
        }
      },
    }`
    await using program = await bench.start({ egress: [url], source })
    expect((await sendCall(program)).outcome).toEqual({
      kind: 'egress_exceeded',
      message: expect.stringContaining(
        'The program has made as many requests as its calls may. Then it failed: Error: I wanted more (index.js:7:',
      ),
    })
    const coped = await sendCall(program, { target: '/copes' })
    expect(coped.outcome).toEqual({ kind: 'answered' })
    expect(coped.body.toString()).toBe(`${limits.egressRequestsPerCallMax} egress_exhausted`)
    expect(origin.requests()).toBe(2 * limits.egressRequestsPerCallMax)
  })

  test('one that floods from many calls at once leaves nothing behind', async () => {
    await using origin = await openOrigin((request, response) => {
      if (request.url === '/hang') response.write('...')
      else response.end('ok')
    })
    const url = `http://api.example.test:${origin.port}`
    const before = countSockets()
    const program = await bench.start({ egress: [url], timeoutMs: 1_000 })
    const steps = Array.from({ length: 40 }, (_, i) => ({ url: `${url}${i % 2 ? '/hang' : '/'}` }))
    const calls = Array.from({ length: 8 }, () =>
      sendCall(program, { method: 'POST', body: Buffer.from(JSON.stringify({ steps, together: true })) }),
    )
    const outcomes = (await Promise.all(calls)).map(({ outcome }) => outcome.kind)
    expect(outcomes).toContain('timeout')
    for (const outcome of outcomes) expect(outcome).toBeOneOf(['timeout', 'answered'])
    await program[Symbol.asyncDispose]()
    expect(egressSockets()).toEqual([])
    origin.server.closeAllConnections()
    while (countSockets() > before) await turn()
  })

  test('two programs have two doors: what one may reach, the other may not', async () => {
    await using origin = await openOrigin((_, response) => response.end('ok'))
    const url = `http://api.example.test:${origin.port}`
    await using may = await bench.start({ egress: [url] })
    await using mayNot = await bench.start({ egress: ['https://other.example.test'] })
    expect(egressSockets()).toHaveLength(2)
    expect((await take(may, [{ url }]))[0]).toMatchObject({ status: 200 })
    expect((await take(mayNot, [{ url }]))[0]).toMatchObject({ code: 'egress_not_allowed' })
    expect(mayNot.usage().egress).toEqual({ requests: 0, sentBytes: 0, receivedBytes: 0 })
  })
})

test('the self-test of a provider finds a network that is open to this machine', async () => {
  await using sandbox = await createSandbox(
    { log: createTestLog() },
    { mode: 'process', trialPath: process.execPath },
    never,
  )
  await using open = await openEgressBench({ allowPrivate: true })
  const breaches = await attackOurselves({ sandbox, runtime: open.runtime }, never)
  expect(breaches).toContainEqual(
    expect.stringMatching(/^A program with a network could dial http:\/\/127\.0\.0\.1:\d+\.$/),
  )
  expect(breaches).toContain('A program reached a port of this machine.')
  expect(breaches.join()).not.toContain('169.254')

  await using closed = await openEgressBench({ allowPrivate: false })
  expect(await attackOurselves({ sandbox, runtime: closed.runtime }, never)).toEqual([])
})
