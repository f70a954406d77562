import { createHash, createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, expect, test } from 'vitest'
import { buildProgram } from '../../cli/project/build.ts'
import { generateOrders } from '../../examples/csv-stats/generate-orders.ts'
import csvStats from '../../examples/csv-stats/src/index.ts'
import { assert } from '../../protocol/base/assert.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import type { Instance } from '../../provider/runtime/runtime.ts'
import { type CallAnswer, sendCall } from '../support/send-call.ts'

/** The examples as they are deployed: built, zipped, unpacked, and run in the sandbox. */

const root = join(import.meta.dirname, '../..')
const { signal } = new AbortController()
const opened = await openRuntimes({ clock: systemClock, log: createTestLog() }, { zygotes: 1 }, signal)
afterAll(() => opened[Symbol.asyncDispose]())

interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  /** Instead of what the manifest asks for. */
  readonly memoryMiB?: number
}

async function start(folder: string, { env = {}, memoryMiB }: StartOptions = {}): Promise<Instance> {
  const { zip, manifest, warnings } = await buildProgram(join(root, folder), signal)
  expect(warnings).toEqual([])
  const program = { files: await readZip(zip, signal), entry: manifest.entry }
  const limits = memoryMiB === undefined ? manifest.limits : { ...manifest.limits, memoryMiB }
  const runtime = opened.runtimes.find(({ kind }) => kind === manifest.runtime)
  assert(runtime, `this machine runs ${manifest.runtime}`)
  return runtime.start(program, { env, params: manifest.params, limits }, signal)
}

const readExample = (path: string) => readFile(join(root, 'examples', path))

function textOf({ outcome, status, body }: CallAnswer): [number | undefined, string] {
  expect(outcome).toEqual({ kind: 'answered' })
  return [status, body.toString()]
}

test('markdown makes the same page as on the developer’s machine', async () => {
  await using instance = await start('examples/markdown')
  const answer = await sendCall(instance, { method: 'POST', body: await readExample('markdown/sample.md') })
  expect(textOf(answer)).toEqual([200, (await readExample('markdown/sample.html')).toString()])
  expect(answer.header('content-type')).toBe('text/html; charset=utf-8')
  expect(answer.header('content-security-policy')).toContain("default-src 'none'")

  const [status, usage] = textOf(await sendCall(instance))
  expect([status, usage]).toEqual([200, expect.stringContaining('<title>Markdown to HTML</title>')])
  const head = await sendCall(instance, { method: 'HEAD' })
  expect(textOf(head)).toEqual([200, ''])
  const nested = await sendCall(instance, { method: 'POST', body: Buffer.from('>'.repeat(20_000)) })
  expect(textOf(nested)[0]).toBe(422)
})

test('csv-stats finds the same statistics as on the developer’s machine', async () => {
  await using instance = await start('examples/csv-stats')
  const body = await readExample('csv-stats/sample.csv')
  const local = await csvStats.fetch(
    new Request('http://localhost/', { method: 'POST', body: new Uint8Array(body) }),
  )
  expect(textOf(await sendCall(instance, { method: 'POST', body }))).toEqual([200, await local.text()])

  const broken = await sendCall(instance, { method: 'POST', body: Buffer.from('a,b\n1\n') })
  expect(textOf(broken)).toEqual([400, expect.stringContaining('"line":2')])
  const latin1 = await sendCall(instance, { method: 'POST', body: Buffer.from('caf\xe9\n', 'latin1') })
  expect(textOf(latin1)).toEqual([400, expect.stringContaining('not UTF-8')])
})

test('csv-stats reads 50 MB where 16 are allowed', async () => {
  await using instance = await start('examples/csv-stats', { memoryMiB: 16 })
  const rows = 627_000
  const answer = await sendCall(instance, { method: 'POST', body: Readable.from(generateFile(rows)) })
  const [status, text] = textOf(answer)
  expect(status).toBe(200)
  expect(JSON.parse(text)).toMatchObject({
    rows,
    columns: [{ name: 'order', min: 10_001, max: 10_000 + rows }, ...rest],
  })
})

const rest = Array.from({ length: 9 }, () => expect.anything())

/** Chunks as they come off a disk. */
function* generateFile(rows: number): Generator<Buffer> {
  let text = ''
  for (const line of generateOrders({ rows })) {
    text += line
    if (text.length < 65_536) continue
    yield Buffer.from(text)
    text = ''
  }
  yield Buffer.from(text)
}

test('factor factors', async () => {
  await using instance = await start('examples/factor')
  const post = async (file: string) =>
    textOf(await sendCall(instance, { method: 'POST', body: await readExample(file) }))
  expect(await post('factor/sample.json')).toEqual([200, '2,2,2,3,5,5'])
  expect(await post('factor/large.json')).toEqual([200, '1821275000009,1821275000053'])
  expect(textOf(await sendCall(instance, { target: '/?num=600' }))).toEqual([200, '2,2,2,3,5,5'])
  expect(textOf(await sendCall(instance, { target: '/?num=x' }))).toEqual([
    400,
    expect.stringContaining('"field":"num"'),
  ])
})

test('greet signs with its secret, in the words of its params', async () => {
  const secret = 'naïve "secret" = of\nthirty-two characters'
  await using instance = await start('examples/greet', { env: { GREETING_SECRET: secret } })
  const greeting = 'გამარჯობა, Ada!'
  const signature = createHmac('sha256', secret).update(greeting).digest('base64url')
  const [status, signed] = textOf(await sendCall(instance, { target: '/hello?name=Ada&language=ka' }))
  expect([status, JSON.parse(signed)]).toEqual([200, { greeting, signature }])
  const verified = await sendCall(instance, { method: 'POST', target: '/verify', body: Buffer.from(signed) })
  expect(textOf(verified)).toEqual([200, '{"valid":true}'])
})

test('greet without its secret says so', async () => {
  await using instance = await start('examples/greet')
  const [status, text] = textOf(await sendCall(instance, { target: '/hello?name=Ada' }))
  expect([status, text]).toEqual([500, expect.stringContaining('its secret GREETING_SECRET is not set')])
})

test('echo says what it was sent and answers what it is told, byte for byte', async () => {
  await using instance = await start('test/support/programs/echo')
  const body = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
  const asked = await sendCall(instance, {
    method: 'PATCH',
    target: '/a/b?c=1&c=%20',
    rawHeaders: ['X-One', '1'],
    body,
  })
  expect(JSON.parse(textOf(asked)[1])).toMatchObject({
    method: 'PATCH',
    path: '/a/b',
    query: '?c=1&c=%20',
    headers: expect.arrayContaining([['x-one', '1']]),
    body: { bytes: 256, sha256: '40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880' },
  })
  expect((await sendCall(instance, { method: 'PUT', target: '/body', body })).body).toEqual(body)

  const target = '/answer?status=418&header=set-cookie:a=1&header=set-cookie:b=2&body=teapot'
  const told = await sendCall(instance, { target })
  expect(textOf(told)).toEqual([418, 'teapot'])
  const cookies = told.rawHeaders.filter(
    (_, index) => told.rawHeaders[index - 1]?.toLowerCase() === 'set-cookie',
  )
  expect(cookies).toEqual(['a=1', 'b=2'])

  const streamed = await sendCall(instance, { target: '/bytes/200000' })
  expect(streamed.body).toEqual(Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251)))
  const whole = await sendCall(instance, { target: '/bytes/1000?whole' })
  expect([whole.header('content-length'), whole.body.byteLength]).toEqual(['1000', 1_000])

  expect((await sendCall(instance, { target: '/throw' })).outcome).toMatchObject({ kind: 'crashed' })
  expect((await sendCall(instance, { target: '/garbage' })).outcome).toMatchObject({ kind: 'output_invalid' })
})

/** Of sample.jpg at a width of 160, on any machine. */
const smallPictureDigest = 'd16447d29f2f41fa20e79df13a13680e7ce41bbeac7c4ec7a8494c2693796032'

test('thumbnail makes the same small picture in every process, and tells what is no picture', async () => {
  const body = await readExample('thumbnail/sample.jpg')
  for (const _ of ['once', 'and again']) {
    await using instance = await start('examples/thumbnail')
    const answer = await sendCall(instance, { method: 'POST', target: '/?width=160', body })
    expect([answer.status, answer.header('content-type'), answer.header('x-size')]).toEqual([
      200,
      'image/png',
      '160x107',
    ])
    expect(answer.body.subarray(16, 24).readUInt32BE()).toBe(160)
    expect(createHash('sha256').update(answer.body).digest('hex')).toBe(smallPictureDigest)
  }
  await using instance = await start('examples/thumbnail')
  const ask = async (target: string, bytes: Buffer) =>
    textOf(await sendCall(instance, { method: 'POST', target, body: bytes }))
  expect(await ask('/', Buffer.from('a,b\n'))).toEqual([422, expect.stringContaining('no PNG')])
  expect(await ask('/', body.subarray(0, 600))).toEqual([422, expect.stringContaining('damaged')])
  expect(await ask('/?width=5000', body)).toEqual([400, expect.stringContaining('"field":"width"')])
  expect(await ask('/?format=tiff', body)).toEqual([400, expect.stringContaining('"field":"format"')])
  // A picture of a few bytes that says it has 8192 × 8192 pixels is not believed.
  const bomb = Buffer.from('89504e470d0a1a0a0000000d4948445200002000000020000806000000000000000000', 'hex')
  expect(await ask('/', bomb)).toEqual([413, expect.stringContaining('6 million')])
})

test('sqlite answers queries over its file, keeps nothing, and lets nobody write', async () => {
  await using instance = await start('examples/sqlite')
  const ask = async (sql: string) =>
    textOf(await sendCall(instance, { method: 'POST', body: Buffer.from(sql) }))
  const sample = (await readExample('csv-stats/sample.csv')).toString()
  const counted = await ask('SELECT count(*) AS orders, min(id), max(date) FROM orders')
  expect(counted).toEqual([
    200,
    '{"columns":["orders","min(id)","max(date)"],"rows":[\n[365,10001,"2025-12-31"]],"isWhole":true}\n',
  ])
  expect(sample).toContain('10001,')
  expect(await ask("SELECT 'a\u0001\"b', 9007199254740993, x'00ff', NULL, 0.5")).toEqual([
    200,
    expect.stringContaining('["a\\u0001\\"b","9007199254740993","00ff",null,0.5]'),
  ])
  const all = await ask('SELECT a.id FROM orders a, orders b')
  expect(JSON.parse(all[1])).toMatchObject({ isWhole: false })
  expect(JSON.parse(all[1]).rows).toHaveLength(10_000)
  for (const [sql, why] of [
    ['DELETE FROM orders', 'readonly'],
    ["ATTACH '/etc/passwd' AS x; SELECT 1", 'one statement'],
    ["ATTACH '/other.db' AS x", 'unable to open'],
    ['SELECT missing FROM orders', 'no such column'],
    ['', 'no SQL'],
  ] as const)
    expect(await ask(sql)).toEqual([400, expect.stringContaining(why)])
})
