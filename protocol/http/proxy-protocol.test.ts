import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { connect as connectH2 } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestAuthority } from '../../test/support/tls.ts'
import { limits } from '../limits.ts'
import { listen } from './listen.ts'
import { parseProxyHeader } from './proxy-protocol.ts'

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

function version2(command: number, family: number, payload: Buffer): Buffer {
  const head = Buffer.from([...signature, command, family, payload.length >> 8, payload.length & 255])
  return Buffer.concat([head, payload])
}

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 })
const groups = (bytes: Uint8Array) =>
  Array.from({ length: 8 }, (_, n) =>
    (((bytes[2 * n] ?? 0) << 8) | (bytes[2 * n + 1] ?? 0)).toString(16),
  ).join(':')
const port = fc.nat({ max: 65_535 })
const extra = fc.uint8Array({ maxLength: 300 })

/** Headers as balancers write them, with the address that they name. */
const written = fc.oneof(
  fc.tuple(ipv4, ipv4, port, port).map(([a, b, p, q]) => ({
    address: a.join('.'),
    bytes: Buffer.from(`PROXY TCP4 ${a.join('.')} ${b.join('.')} ${p} ${q}\r\n`),
  })),
  fc.tuple(ipv6, ipv6, port, port).map(([a, b, p, q]) => ({
    address: groups(a),
    bytes: Buffer.from(`PROXY TCP6 ${groups(a)} ${groups(b)} ${p} ${q}\r\n`),
  })),
  fc.constantFrom('PROXY UNKNOWN\r\n', 'PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n').map((line) => ({
    address: undefined,
    bytes: Buffer.from(line),
  })),
  fc.tuple(ipv4, extra).map(([a, more]) => ({
    address: a.join('.'),
    bytes: version2(0x21, 0x11, Buffer.concat([a, Buffer.alloc(8), more])),
  })),
  fc.tuple(ipv6, extra).map(([a, more]) => ({
    address: groups(a),
    bytes: version2(0x21, 0x21, Buffer.concat([a, Buffer.alloc(20), more])),
  })),
  fc
    .tuple(fc.constantFrom([0x20, 0x11], [0x20, 0x00], [0x21, 0x00]), extra)
    .map(([[command, family], more]) => ({
      address: undefined,
      bytes: version2(command as number, family as number, Buffer.from(more)),
    })),
)

test('what balancers write is read however it is cut, up to its end and no further', () => {
  fc.assert(
    fc.property(written, fc.uint8Array({ maxLength: 20 }), ({ bytes, address }, rest) => {
      for (let cut = 1; cut < bytes.length; cut++) {
        expect(parseProxyHeader(bytes.subarray(0, cut))).toEqual({ kind: 'more' })
      }
      const read = parseProxyHeader(Buffer.concat([bytes, rest]))
      expect(read).toEqual({ kind: 'header', bytes: bytes.length, address })
    }),
    { numRuns: 60 },
  )
})

test('whatever comes, it is decided within a bound, and a wrong byte is never waited on', () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 2 * limits.proxyHeaderBytesMax }).map((bytes) => Buffer.from(bytes)),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.concat([signature, bytes])),
    fc.string({ maxLength: 300 }).map((tail) => Buffer.from(`PROXY ${tail}`)),
    fc.tuple(written, fc.nat(), fc.nat({ max: 255 })).map(([{ bytes }, at, value]) => {
      const broken = Buffer.from(bytes)
      broken[at % broken.length] = value
      return broken
    }),
  )
  fc.assert(
    fc.property(anything, (bytes) => {
      const read = parseProxyHeader(bytes)
      if (bytes.length >= limits.proxyHeaderBytesMax) expect(read.kind).not.toBe('more')
      if (read.kind === 'header') expect(read.bytes).toBeLessThanOrEqual(bytes.length)
    }),
    { numRuns: 500 },
  )
})

test.each([
  ['GET / HTTP/1.1'],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n'],
  ['PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n'],
  ['PROXY TCP4 ::1 ::1 1 2\r\n'],
  ['PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n'],
  ['PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n'],
  ['PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n'],
  [`PROXY UNKNOWN ${'x'.repeat(100)}`],
  [version2(0x31, 0x11, Buffer.alloc(12)).toString('latin1')],
  [version2(0x22, 0x11, Buffer.alloc(12)).toString('latin1')],
  [version2(0x21, 0x11, Buffer.alloc(11)).toString('latin1')],
  [version2(0x21, 0x12, Buffer.alloc(12)).toString('latin1')],
  [version2(0x21, 0x21, Buffer.alloc(35)).toString('latin1')],
  [version2(0x21, 0x11, Buffer.alloc(limits.proxyHeaderBytesMax)).toString('latin1')],
])('%j is none', (bytes) => {
  expect(parseProxyHeader(Buffer.from(bytes, 'latin1'))).toEqual({ kind: 'invalid' })
})

const line = 'PROXY TCP4 192.0.2.7 192.0.2.8 5000 443\r\n'
const binary = version2(0x21, 0x21, Buffer.concat([Buffer.from('20010db8', 'hex'), Buffer.alloc(32)]))

const echoes = {
  host: '127.0.0.1',
  port: 0,
  onRequest: (request: IncomingMessage, response: { end(text?: string): unknown }) =>
    void response.end(request.socket.remoteAddress),
}

function dial(port: number, header: string | Buffer): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.write(header)
  return socket
}

const ask = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

test.each([
  ['in one piece with the request', (port: number) => dial(port, line + ask)],
  [
    'byte by byte',
    (port: number) => {
      const socket = connect(port, '127.0.0.1')
      const pieces = [...Buffer.from(line + ask)].map((byte) => Buffer.of(byte))
      const next = () => {
        const piece = pieces.shift()
        if (piece) socket.write(piece, () => setImmediate(next))
      }
      next()
      return socket
    },
  ],
])('requests are those of whom a balancer names, %s', async (_, open) => {
  const admitted: string[] = []
  await using listener = await listen({
    ...echoes,
    isBalancer: () => true,
    admitConnection(address) {
      admitted.push(address)
      return () => undefined
    },
  })
  expect(await text(open(listener.port))).toMatch(/\r\n\r\n192\.0\.2\.7$|\r\n9\r\n192\.0\.2\.7\r\n0/)
  expect(admitted).toEqual(['192.0.2.7'])
})

test('the same under TLS, for HTTP/1.1 and HTTP/2', async () => {
  const authority = await createTestAuthority()
  const tls = { ...(await authority.sign('localhost')), ticketKeys: randomBytes(48) }
  await using listener = await listen({ ...echoes, tls, isBalancer: () => true })
  const secure = (ALPNProtocols: string[]) =>
    connectTls({
      socket: dial(listener.port, binary),
      servername: 'localhost',
      ca: authority.ca,
      ALPNProtocols,
    })
  const socket = secure(['http/1.1'])
  socket.write(ask)
  expect(await text(socket)).toContain('2001:db8:0:0:0:0:0:0')
  const session = connectH2('https://localhost', { createConnection: () => secure(['h2']) })
  for (let n = 0; n < 2; n++) expect(await text(session.request({}))).toBe('2001:db8:0:0:0:0:0:0')
  session.close()
})

test('a balancer that says nothing, or half of it, is not waited for', async () => {
  await using listener = await listen({ ...echoes, isBalancer: () => true, headerTimeoutMs: 20 })
  expect(await text(dial(listener.port, '')).catch(() => '')).toBe('')
  expect(await text(dial(listener.port, line.slice(0, 20))).catch(() => '')).toBe('')
  expect(await text(dial(listener.port, binary.subarray(0, 20))).catch(() => '')).toBe('')
})

test('a balancer that does not say whose a connection is is cut off; others need not say anything', async () => {
  let isBalancer = true
  await using listener = await listen({ ...echoes, isBalancer: () => isBalancer })
  expect(await text(dial(listener.port, ask)).catch(() => '')).toBe('')
  expect(await text(dial(listener.port, `PROXY NONSENSE\r\n${ask}`)).catch(() => '')).toBe('')
  isBalancer = false
  expect(await text(dial(listener.port, ask))).toContain('127.0.0.1')
  // Nor are they believed.
  expect(await text(dial(listener.port, line + ask))).toMatch(/^HTTP\/1\.1 400/)
})
