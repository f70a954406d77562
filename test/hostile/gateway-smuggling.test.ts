import { expect, test } from 'vitest'
import { openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'

/** Shapes that two servers may read differently. None of them may reach a provider. */
const host = 'Host: alice.localhost\r\n'
const refused: Record<string, string> = {
  'length and chunked': `POST / HTTP/1.1\r\n${host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'chunked and length': `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
  'two lengths': `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
  'the same length twice': `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`,
  'a signed length': `POST / HTTP/1.1\r\n${host}Content-Length: +1\r\n\r\na`,
  'a list of lengths': `POST / HTTP/1.1\r\n${host}Content-Length: 1, 1\r\n\r\na`,
  xchunked: `POST / HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  'chunked, identity': `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
  'gzip, chunked': `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  'chunked twice': `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a space before the colon': `POST / HTTP/1.1\r\n${host}Content-Length : 1\r\n\r\na`,
  'a folded header': `GET / HTTP/1.1\r\n${host}X: a\r\n b\r\n\r\n`,
  'bare line feeds': 'GET / HTTP/1.1\nHost: alice.localhost\n\n',
  'a bare CR in a value': `GET / HTTP/1.1\r\n${host}X: a\rb\r\n\r\n`,
  'NUL in a value': `GET / HTTP/1.1\r\n${host}X: a\0b\r\n\r\n`,
  'two hosts': `GET / HTTP/1.1\r\n${host}Host: bob.localhost\r\n\r\n`,
  'the same host twice': `GET / HTTP/1.1\r\n${host}${host}\r\n`,
  'no host': 'GET / HTTP/1.1\r\n\r\n',
  'no host in HTTP/1.0': 'GET / HTTP/1.0\r\n\r\n',
  'a target with another host': `GET http://bob.localhost/x HTTP/1.1\r\n${host}\r\n`,
  'a target with a user name': `GET http://alice.localhost@bob.localhost/ HTTP/1.1\r\n${host}\r\n`,
  'another scheme': `GET ftp://alice.localhost/ HTTP/1.1\r\n${host}\r\n`,
  'a host with a user name': 'GET / HTTP/1.1\r\nHost: x@alice.localhost\r\n\r\n',
  'a host with a path': 'GET / HTTP/1.1\r\nHost: alice.localhost/x\r\n\r\n',
  'a host with a space': 'GET / HTTP/1.1\r\nHost: alice.localhost bob\r\n\r\n',
  'chunked in HTTP/1.0': `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'Connection: host': `GET / HTTP/1.1\r\n${host}Connection: close, host\r\n\r\n`,
  'Connection: content-length': `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nConnection: close, content-length\r\n\r\na`,
  'Connection: authorization': `GET / HTTP/1.1\r\n${host}Connection: close, authorization\r\nAuthorization: x\r\n\r\n`,
  'Connection: x-forwarded-for': `GET / HTTP/1.1\r\n${host}Connection: close, X-Forwarded-For\r\n\r\n`,
  'bytes above ASCII in the target': `GET /\u00e9 HTTP/1.1\r\n${host}\r\n`,
  CONNECT: `CONNECT alice.localhost:80 HTTP/1.1\r\n${host}\r\n`,
  TRACE: `TRACE / HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
  'a target that is too long': `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
}

test.each(Object.entries(refused))('%s is refused and never reaches the provider', async (_, bytes) => {
  await using provider = await openOrigin((__, response) => response.end('reached'))
  await using front = await openGatewayFront({ alice: provider.url, bob: provider.url })
  const answer = await front.sendRaw(closing(bytes))
  expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /)
  expect(answer).not.toContain('reached')
  expect(provider.requests()).toBe(0)
})

/** Asks for the connection to be closed, so that the test sees the end, without touching what is tested. */
function closing(bytes: string): string {
  if (/connection:/i.test(bytes) || !bytes.includes('\r\n\r\n')) return bytes
  return bytes.replace('\r\n', '\r\nConnection: close\r\n')
}

test.each([
  [
    'an absolute target that agrees',
    `GET http://alice.localhost/x?y HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
    'GET /x?y 0',
  ],
  [
    'an absolute target without path',
    `GET http://ALICE.localhost HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
    'GET / 0',
  ],
  [
    'chunk extensions',
    `POST / HTTP/1.1\r\n${host}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n`,
    'POST / 1',
  ],
  [
    'a body with GET',
    `GET / HTTP/1.1\r\n${host}Connection: close\r\nContent-Length: 3\r\n\r\nabc`,
    'GET / 3',
  ],
  [
    'an upgrade to h2c',
    `GET / HTTP/1.1\r\n${host}Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n`,
    'GET / 0',
  ],
])('%s is framed anew and passed on', async (_, bytes, expected) => {
  await using provider = await openOrigin(async (request, response) => {
    let size = 0
    for await (const part of request) size += (part as Buffer).length
    expect(request.headers).not.toHaveProperty('upgrade')
    response.end(`${request.method} ${request.url} ${size}`, 'latin1')
  })
  await using front = await openGatewayFront({ alice: provider.url })
  const answer = await front.sendRaw(bytes)
  expect(answer).toContain('HTTP/1.1 200')
  expect(answer).toContain(expected)
})

test('what follows a request on its connection is a request of its own', async () => {
  const seen: string[] = []
  await using provider = await openOrigin((request, response) => {
    seen.push(request.url ?? '')
    response.end()
  })
  await using front = await openGatewayFront({ alice: provider.url })
  await front.sendRaw(
    `POST /1 HTTP/1.1\r\n${host}Content-Length: 0\r\n\r\nGET /2 HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
  )
  expect(seen).toEqual(['/1', '/2'])
})
