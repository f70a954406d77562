import { afterAll, describe, expect, test } from 'vitest'
import { MiB } from '../../../protocol/base/bytes.ts'
import { systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { collectAnswer } from '../collect-answer.ts'
import { createJsRuntime } from './js-runtime.ts'

const never = new AbortController().signal

describe('a program behind the walls of this machine', async () => {
  const runtime = await createJsRuntime({ clock: systemClock, log: createTestLog() }, { zygotes: 1 }, never)
  afterAll(() => runtime[Symbol.asyncDispose]())

  async function answer(
    files: Readonly<Record<string, string | Uint8Array>>,
    headers: readonly string[] = [],
  ) {
    await using instance = await runtime.start(
      {
        files: Object.entries(files).map(([path, content]) => ({ path, bytes: Buffer.from(content) })),
        entry: Object.keys(files)[0]!,
      },
      { env: {}, params: null, limits: { timeoutMs: 10_000, memoryMiB: 128 } },
      never,
    )
    const rawHeaders = ['host', 'alice.example', ...headers]
    const { body, outcome } = await collectAnswer(instance, { method: 'GET', target: '/a?b', rawHeaders })
    return outcome.kind === 'answered' ? body.toString() : outcome
  }

  const timerFacts = `
    const timer = setTimeout(() => undefined, 1_000)
    const facts = [typeof timer.unref, timer.constructor.name, globalThis.setTimeout === setTimeout]
    clearTimeout(timer)
    facts.push(await new Promise((resolve) => setTimeout(resolve, 1, 'later')))
    let turns = 0
    const interval = setInterval(() => turns++, 1)
    while (turns < 2) await new Promise((resolve) => setTimeout(resolve, 1))
    clearInterval(interval)
    return Response.json(facts)`

  test.each([
    ['alone', ''],
    ['beside the module that has them', 'import * as timers from "node:timers";'],
    ['beside what uses them', 'import "node:stream"; import "node:timers/promises";'],
    ['after process has been replaced', 'globalThis.process = 5;', ['undefined', 'Number']],
  ])('has the timers of Node: %s', async (_, before, found = ['function', 'Timeout']) => {
    const facts = await answer({ 'index.js': `${before} export default { async fetch() { ${timerFacts} } }` })
    expect(JSON.parse(String(facts))).toEqual([...found, true, 'later'])
  })

  test('replaces a timer before anybody has looked at it', async () => {
    const source = `
      globalThis.setTimeout = () => 'mine'
      const isOwn = typeof clearTimeout === 'function' && setTimeout() === 'mine'
      export default { fetch: () => Response.json([isOwn, setTimeout(), Object.keys(globalThis).includes('setTimeout')]) }`
    expect(await answer({ 'index.js': source })).toBe('[true,"mine",true]')
  })

  test('hears that a caller has left in the middle of an answer', async ({ signal }) => {
    const source = `
      let cancelled = 0
      const endless = () => new ReadableStream({
        pull: (controller) => new Promise((resolve) => setTimeout(resolve, 5)).then(() => controller.enqueue(new Uint8Array(1))),
        cancel: () => void cancelled++,
      })
      export default { fetch: ({ url }) => new Response(url.endsWith('/cancelled') ? String(cancelled) : endless()) }`
    await using instance = await runtime.start(
      { files: [{ path: 'index.js', bytes: Buffer.from(source) }], entry: 'index.js' },
      { env: {}, params: null, limits: { timeoutMs: 60_000, memoryMiB: 128 } },
      never,
    )
    const rawHeaders = ['host', 'alice.example']
    await new Promise<void>((resolve) => {
      const exchange = instance.call(
        { method: 'GET', target: '/', rawHeaders },
        {
          onHead: () => undefined,
          onData() {
            exchange.abort()
            resolve()
          },
          onEnd: () => expect.unreachable(),
        },
      )
    })
    const ask = async () =>
      (await collectAnswer(instance, { method: 'GET', target: '/cancelled', rawHeaders })).body.toString()
    let cancelled = await ask()
    while (cancelled === '0' && !signal.aborted) cancelled = await ask()
    expect(cancelled).toBe('1')
  })

  test('imports its other files, each as what it is', async () => {
    // (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
    const add = Buffer.from(
      '0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b',
      'hex',
    )
    const main = `
      import page from './page.html'
      import data from './lib/data.json'
      import bytes from './image.bin'
      import module from './add.wasm'
      import { double } from './lib/double.mjs'
      import old from './old.cjs'
      const { add } = new WebAssembly.Instance(module).exports
      export default {
        fetch: () => Response.json([page, data.list, new Uint8Array(bytes)[1], add(2, 3), double(4), old.answer]),
      }`
    const files = {
      'main.js': main,
      'page.html': '<p>ü',
      'lib/data.json': '{"list":[1]}',
      'image.bin': Buffer.from([1, 255]),
      'add.wasm': add,
      'lib/double.mjs': "import { two } from './two.js'; export const double = (n) => n * two",
      'lib/two.js': 'export const two = 2',
      'old.cjs': 'module.exports = { answer: 42 }',
    }
    expect(await answer(files)).toBe('["<p>ü",[1],255,5,8,42]')
  })

  test('sees the address that its caller used', async () => {
    const source = 'export default { fetch: (request) => new Response(request.url) }'
    expect(await answer({ 'main.js': source })).toBe('http://alice.example/a?b')
    expect(await answer({ 'main.js': source }, ['x-forwarded-proto', 'https'])).toBe(
      'https://alice.example/a?b',
    )
  })

  test('has the interfaces of the web and of Node', async () => {
    const source = `
      import { createHash, scryptSync, randomBytes } from 'node:crypto'
      import { gzipSync, gunzipSync } from 'node:zlib'
      import { Buffer } from 'node:buffer'
      import { setTimeout as sleep } from 'node:timers/promises'
      export default {
        async fetch() {
          const key = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
          const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key.privateKey, new Uint8Array(9))
          const squeezed = new Response('x'.repeat(1e6)).body.pipeThrough(new CompressionStream('gzip'))
          const size = (await new Response(squeezed).arrayBuffer()).byteLength
          await sleep(1)
          return Response.json({
            signature: signature.byteLength,
            isSqueezed: size < 10_000,
            hash: createHash('sha256').update('a').digest('hex').slice(0, 8),
            scrypt: scryptSync('a', 'b', 8).length,
            random: randomBytes(8).length,
            zlib: gunzipSync(gzipSync(Buffer.from('hello'))).toString(),
            uuid: crypto.randomUUID().length,
            language: new Intl.NumberFormat('de').format(1234.5),
            isClockRunning: Date.now() > 1.7e12,
            clone: structuredClone(new Map([[1, 2n]])).size,
          })
        },
      }`
    const text = await answer({ 'main.js': source })
    expect(JSON.parse(String(text))).toEqual({
      signature: 64,
      isSqueezed: true,
      hash: 'ca978112',
      scrypt: 8,
      random: 8,
      zlib: 'hello',
      uuid: 36,
      language: '1.234,5',
      isClockRunning: true,
      clone: 1,
    })
  })

  test('may be large', async () => {
    const large = Buffer.alloc(20 * MiB, 'x')
    const source =
      "import text from './large.txt'; export default { fetch: () => new Response(String(text.length)) }"
    expect(await answer({ 'main.js': source, 'large.txt': large })).toBe(String(large.length))
  })

  test('begins afresh, whatever the one before it did', async () => {
    const source =
      'globalThis.n = (globalThis.n ?? 0) + 1; export default { fetch: () => new Response(String(n)) }'
    expect([await answer({ 'main.js': source }), await answer({ 'main.js': source })]).toEqual(['1', '1'])
  })
})
