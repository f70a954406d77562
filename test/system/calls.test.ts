import { createHash, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import { hashRequest } from '../../protocol/call.ts'
import { parseSignedReceipt } from '../../protocol/read-receipt.ts'
import { type CheckName, checkNames } from '../../protocol/verify-receipt.ts'
import { type Deployed, echoProgram, openMarket, type TestMarket } from '../support/market.ts'

/** KH-1 and KH-2: from nothing to an answer, and every byte of it. */

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

let at: TestMarket
let echo: Deployed
beforeAll(async () => {
  at = await openMarket()
  const policy = ['--owner-per-day', 'none', '--calls-per-minute', 'none', '--timeout', '30000']
  echo = await at.deploy(echoProgram, '--provider', 'alice', '--provider', 'bob', ...policy)
})
afterAll(() => at[Symbol.asyncDispose]())

interface Described {
  readonly method: string
  readonly url: string
  readonly path: string
  readonly query: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: { readonly bytes: number; readonly sha256: string }
}

test('init, deploy, curl: a new program answers at the URL that deploying printed, for the price of one call', async () => {
  expect((await at.user.run(['init', 'hello'])).exitCode).toBe(0)
  const costs = await at.costsOf(async () => {
    const { cid, urls } = await at.deploy('hello')
    expect(urls['alice']).toBe(`http://alice.${at.dev.gateway.domain}/${cid}/`)
    const answer = await at.call({ cid, path: '/hello?x=1' })
    expect(answer.status).toBe(200)
    expect(answer.json()).toEqual({ greeting: 'Hello, world!' })
    expect(answer.header('khachapuri-price')).toBe('500')
    expect(answer.header('content-digest')).toBe(
      `sha-256=:${Buffer.from(sha256(answer.body), 'hex').toString('base64')}:`,
    )
  })
  expect(costs).toEqual({ paid: { developer: 500n }, earned: { alice: 500n } })
})

interface Verified {
  readonly receipt: Record<string, unknown>
  readonly checks: readonly { readonly name: CheckName; readonly verdict: string }[]
}

const verdicts = ({ checks }: Verified) =>
  Object.fromEntries(checks.map(({ name, verdict }) => [name, verdict]))
const allOk = Object.fromEntries(checkNames.map((name) => [name, 'ok']))

describe.each(['alice', 'bob'])('through the gateway to %s', (provider) => {
  const bodies = [
    ['no body', Buffer.alloc(0)],
    ['1 MiB of noise', randomBytes(1 * MiB)],
  ] as const
  const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

  test.each(methods.flatMap((method) => bodies.map(([what, body]) => [method, what, body] as const)))(
    '%s with %s reaches the program as it was sent',
    async (method, _what, body) => {
      const path = '/a%20b//c?x=1&x=2&y=%C3%A9'
      const answer = await at.call({ provider, cid: echo.cid, method, path, body })
      expect(answer.status).toBe(200)
      const described = answer.json<Described>()
      expect(described).toMatchObject({ method, body: { bytes: body.byteLength, sha256: sha256(body) } })
      expect(described.path + described.query).toBe(path)
      expect(new URL(described.url).host).toBe(`${provider}.${at.dev.gateway.domain}`)
    },
  )

  test("an answer's receipt holds offline, against the request, the body and the program; on chain it is the provider's", async () => {
    const path = '/a?x=1'
    const answer = await at.call({ provider, cid: echo.cid, method: 'POST', path, body: Buffer.from('hi') })
    const head = answer.rawHeaders.map((text, i) => text + (i % 2 === 0 ? ': ' : '\r\n')).join('')
    const { dir } = at.user
    await writeFile(join(dir, 'answer'), [`HTTP/1.1 ${answer.status} OK\r\n`, head, '\r\n', answer.body])
    await writeFile(join(dir, 'asked'), 'hi')
    const asked = ['--request', `POST /${echo.cid}${path}`, '--data', 'asked', '--deployment', echo.cid]
    const verify = ['verify', 'answer', ...asked, '--program', echoProgram, '--json']
    const offline = (
      await at.user.run(verify, { env: { KHACHAPURI_GATEWAY: 'http://127.0.0.1:1' } })
    ).json<Verified>()
    expect(verdicts(offline)).toEqual({ ...allOk, provider: 'open', market: 'open' })
    const onChain = (await at.user.run([...verify, '--provider', provider, '--on-chain'])).json<Verified>()
    // No settlement has published it yet.
    expect(verdicts(onChain)).toEqual({ ...allOk, root: 'open' })

    const url = `${at.dev.gateway.url}_/receipts/${answer.header('khachapuri-call')}`.replace(
      'localhost',
      `${provider}.localhost`,
    )
    const shown = (await at.user.run(['verify', url, '--json'])).json<Verified>()
    expect(shown.receipt).toEqual(offline.receipt)
    const other = provider === 'alice' ? 'bob' : 'alice'
    const wrong = [...verify, '--request', 'POST /b', '--provider', other, '--on-chain']
    const { exitCode, stdout } = await at.user.run(wrong)
    expect(exitCode).not.toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ code: 'receipt_differs', wrong: ['provider', 'request'] })
  })

  test('HEAD gets the head of the answer and no body, and its receipt says what was asked', async () => {
    const answer = await at.call({ provider, cid: echo.cid, method: 'HEAD', path: '/bytes/1000?whole' })
    expect(answer.status).toBe(200)
    expect(answer.header('content-length')).toBe('1000')
    expect(answer.body.byteLength).toBe(0)
    const receipt = await at.call({ provider, path: `/_/receipts/${answer.header('khachapuri-call')}` })
    expect(receipt.json()).toMatchObject({
      outcome: 'answered',
      status: 200,
      price: '500',
      requestDigest: hashRequest({
        method: 'HEAD',
        target: '/bytes/1000?whole',
        bodyDigest: createHash('sha256').digest(),
      }),
    })
  })

  test('a receipt says nothing of a body that was not read to its end, and binds the rest', async () => {
    const unending = new Readable({ read: () => undefined })
    unending.push('the beginning')
    const answer = await at.call({ provider, cid: echo.cid, path: '/ignore', body: unending })
    unending.destroy()
    expect(answer.text).toBe('ignored')
    const receipt = await at.call({ provider, path: `/_/receipts/${answer.header('khachapuri-call')}` })
    const target = '/ignore'
    expect(receipt.json()).toMatchObject({
      requestDigest: hashRequest({ method: 'POST', target, bodyDigest: undefined }),
    })
    expect(hashRequest({ method: 'POST', target, bodyDigest: undefined })).toBe(
      `0x${createHash('sha256').update('POST /ignore\n-\n').digest('hex')}`,
    )
  })

  test('equal headers all arrive, in their order, and in UTF-8', async () => {
    const rawHeaders = [
      'X-Many',
      'one',
      'x-many',
      'two',
      'X-MANY',
      'three, four',
      'X-Utf8',
      'd\xc3\xa9j\xc3\xa0',
    ]
    const answer = await at.call({ provider, cid: echo.cid, rawHeaders })
    const headers = new Map(answer.json<Described>().headers)
    expect(headers.get('x-many')).toBe('one, two, three, four')
    expect(headers.get('x-utf8')).toBe('d\xe9j\xe0')
  })

  test('a program may answer with any status, headers and type', async () => {
    const told = ['x-many:one', 'x-many:two', 'set-cookie:a=1', 'set-cookie:b=2; Path=/', 'content-type:x/y']
    const query = told.map((header) => `header=${encodeURIComponent(header)}`).join('&')
    for (const status of [200, 201, 299, 404, 418, 451, 500, 599]) {
      const answer = await at.call({
        provider,
        cid: echo.cid,
        path: `/answer?status=${status}&body=b&${query}`,
      })
      expect(answer.status).toBe(status)
      expect(answer.text).toBe('b')
      expect(answer.header('content-type')).toBe('x/y')
      expect(answer.header('x-many')).toBe('one, two')
      expect(answer.rawHeaders.filter((_, i, all) => /^set-cookie$/i.test(all[i - 1] ?? ''))).toEqual([
        'a=1',
        'b=2; Path=/',
      ])
    }
    for (const status of [204, 304]) {
      const answer = await at.call({ provider, cid: echo.cid, path: `/answer?status=${status}` })
      expect([answer.status, answer.body.byteLength]).toEqual([status, 0])
    }
  })

  test('a redirect is for the caller to follow', async () => {
    const location = encodeURIComponent('location:http://127.0.0.1:1/inside')
    const answer = await at.call({ provider, cid: echo.cid, path: `/answer?status=302&header=${location}` })
    expect(answer.status).toBe(302)
    expect(answer.header('location')).toBe('http://127.0.0.1:1/inside')
  })

  test.each([
    ['in chunks of odd size', `/bytes/${6 * MiB}?chunk=7777`],
    ['at once', `/bytes/${6 * MiB}?whole`],
  ])('6 MiB of binary answer %s arrive byte for byte', async (_how, path) => {
    const expected = Uint8Array.from({ length: 6 * MiB }, (_, i) => i % 251)
    const answer = await at.call({ provider, cid: echo.cid, path })
    expect(sha256(answer.body)).toBe(sha256(expected))
    const receipt = await at.call({ provider, path: `/_/receipts/${answer.header('khachapuri-call')}` })
    expect(receipt.json()['responseDigest']).toBe(`0x${sha256(expected)}`)
  })

  test('a body of unknown length streams in while the answer streams out', async () => {
    const noise = randomBytes(5 * MiB)
    const chunks = Array.from({ length: 80 }, (_, i) => noise.subarray(i * 65_536, (i + 1) * 65_536))
    const answer = await at.call({
      provider,
      cid: echo.cid,
      path: '/body',
      rawHeaders: ['content-type', 'x/noise'],
      body: Readable.from(chunks),
    })
    expect(answer.status).toBe(200)
    expect(answer.header('content-type')).toBe('x/noise')
    expect(answer.body.byteLength).toBe(noise.byteLength)
    expect(answer.body.findIndex((b, i) => b !== noise[i])).toBe(-1)
    // The receipt could only be written when all of it was known.
    const [, digest, , word = ''] = answer.rawTrailers
    expect(digest).toBe(`sha-256=:${createHash('sha256').update(noise).digest('base64')}:`)
    expect(parseSignedReceipt(word)?.receipt).toMatchObject({
      callId: answer.header('khachapuri-call'),
      responseDigest: `0x${sha256(noise)}`,
    })
  })

  test('server-sent events arrive as they are sent, with their type', async () => {
    const answer = await at.call({ provider, cid: echo.cid, path: '/events/3' })
    expect(answer.header('content-type')).toBe('text/event-stream')
    expect(answer.text).toBe([0, 1, 2].map((i) => `id: ${i}\ndata: line ${i}\n\n`).join(''))
  })

  test('its page tells people who it is and how to call, and programs the same as JSON', async () => {
    const page = await at.call({ provider, rawHeaders: ['accept', 'text/html'] })
    expect(page.header('content-type')).toContain('text/html')
    expect(page.text).toContain(`curl http://${provider}.${at.dev.gateway.domain}/`)
    expect(page.text).toContain('0.0005 USDC')
    expect((await at.call({ provider })).json()).toMatchObject({
      name: provider,
      price: '500',
      chainId: 31_337,
    })
  })
})

test('every call of this file costs its owner the price and earns it for the provider that answered', async () => {
  const costs = await at.costsOf(async () => {
    await Promise.all(
      ['alice', 'alice', 'alice', 'bob', 'bob'].map((provider) => at.call({ provider, cid: echo.cid })),
    )
  })
  expect(costs).toEqual({ paid: { developer: 2500n }, earned: { alice: 1500n, bob: 1000n } })
})
