import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** Requests that no browser would send, straight to a provider's port. */

let at: TestMarket
let cid: string
beforeAll(async () => {
  at = await openMarket()
  const policy = ['--owner-per-day', 'none', '--calls-per-minute', 'none']
  cid = (await at.deploy(echoProgram, ...policy)).cid
  await at.call({ cid })
})
afterAll(() => at[Symbol.asyncDispose]())

/** Sends bytes as they are on a connection of their own. @returns all that comes back */
async function sendRaw(bytes: string): Promise<string> {
  const { hostname, port } = at.dev.providers.alice.url as URL
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined).write(bytes, 'latin1')
  return text(socket)
}

const get = (target: string, ...headers: string[]) =>
  sendRaw([`GET ${target} HTTP/1.1`, 'host: a', 'connection: close', ...headers, '', ''].join('\r\n'))

const probes: readonly (readonly [string, () => Promise<string>])[] = [
  ['percent signs that encode nothing', () => get('/_/d/%E0%A4%A')],
  ['a zero byte', () => get('/_/d/%00')],
  ['dots', () => get('/_/../../etc/passwd')],
  ['encoded dots', () => get('/ipfs/%2e%2e%2f%2e%2e')],
  ['backslashes', () => get('/\\..\\..\\x')],
  ['backslashes below a program', () => get(`/${'bafk'}\\x`)],
  ['a receipt of markup', () => get('/_/receipts/<script>')],
  ['a CID of markup', () => get('/_/d/<script>alert(1)</script>')],
  ['a CID with a line break', () => get('/_/d/%0d%0aset-cookie:%20a=1')],
  ['a CID that is long', () => get(`/${'b'.repeat(8_000)}`)],
  ['another origin', () => get('http://other.example/')],
  ['no path', () => get('*')],
  ['bytes beyond ASCII', () => get('/\xe9')],
  ['a host with an account', () => sendRaw('GET / HTTP/1.1\r\nhost: a@b\r\nconnection: close\r\n\r\n')],
  ['a host of markup', () => sendRaw('GET / HTTP/1.1\r\nhost: <b>\r\nconnection: close\r\n\r\n')],
  ['two hosts', () => sendRaw('GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n')],
  [
    'a forwarded host of markup',
    () => get('/', 'accept: text/html', 'x-forwarded-host: <script>alert(1)</script>'),
  ],
  [
    'a page with a body',
    () => sendRaw('POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc'),
  ],
  ['a length and chunks', () => get('/', 'content-length: 3', 'transfer-encoding: chunked')],
  [
    'a chunk that is none',
    () => sendRaw('POST /_/info HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
  ],
  ['a receipt that is none', () => get(`/_/receipts/0x${'0'.repeat(64)}`)],
  [
    'an upload without a signature',
    () => sendRaw('POST /ipfs?root=x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'),
  ],
  ['a pass of rubbish', () => get('/', `authorization: Bearer kp1.${'A'.repeat(9_000)}`)],
  ['a method of its own', () => sendRaw('PROPFIND /_/info HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')],
]

test.each(probes)(
  '%s gets an answer, nothing of it is run or shown as markup, and costs nothing',
  async (_what, probe) => {
    const costs = await at.costsOf(async () => {
      const answer = await probe()
      expect(answer).toMatch(/^HTTP\/1\.1 [24]\d\d /)
      if (answer.startsWith('HTTP/1.1 4')) expect(answer).toMatch(/"code":"[a-z_]+","hint":"[A-Z]/)
      expect(answer).not.toMatch(/<script>alert|<b>|^set-cookie/im)
    })
    expect(costs).toEqual(nothing)
    expect((await at.call({ cid, path: '/count' })).status).toBe(200)
  },
)

test('a target that no program could be sent is refused before anything is reserved or started', async () => {
  const answer = await get(`/${cid}/\xe9`)
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(answer).not.toMatch(/khachapuri-call/i)
})
