import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { collectAnswer } from '../../provider/runtime/collect-answer.ts'
import type { Instance, Runtime } from '../../provider/runtime/runtime.ts'
import { createWasmConvention } from '../../provider/runtime/wasm/wasm-modules.ts'
import { createWasmRuntime } from '../../provider/runtime/wasm/wasm-runtime.ts'
import { countTraces, countTracesLeft } from '../support/traces.ts'

/** WASI programs that do what they should not: each gets its own outcome, and no other call notices. */

const { signal } = new AbortController()
const module = readFileSync(join(import.meta.dirname, '../../provider/runtime/wasm/testing/hostile.wasm'))
let runtime: Runtime
let before: ReturnType<typeof countTraces>
beforeAll(async () => {
  // The bundler's own process stays for as long as this one.
  await createWasmConvention()
  before = countTraces()
  runtime = await createWasmRuntime({ clock: systemClock, log: createTestLog() }, { zygotes: 0 }, signal)
})
afterAll(async () => {
  await runtime[Symbol.asyncDispose]()
  expect(await countTracesLeft(before), 'nothing survives').toEqual(before)
})

interface StartOptions {
  readonly timeoutMs?: number
  readonly onOutput?: (chunk: Buffer) => void
}

function start(name: string, { timeoutMs = 10_000, onOutput }: StartOptions = {}): Promise<Instance> {
  const files = [
    { path: `${name}.wasm`, bytes: module },
    { path: 'data.txt', bytes: Buffer.from('some data') },
  ]
  const options = { env: {}, params: null, limits: { timeoutMs, memoryMiB: 48 } }
  return runtime.start(
    { files, entry: `${name}.wasm` },
    { ...options, ...(onOutput && { onOutput }) },
    signal,
  )
}

async function run(name: string, options?: StartOptions) {
  await using program = await start(name, options)
  return await collectAnswer(program, { method: 'GET', target: '/', rawHeaders: ['host', 'test'] })
}

describe('a WASI program that', () => {
  test.each([
    ['recursion', /stack|trap/i],
    ['outside', /bounds|invalid/i],
    ['many-parts', /bounds|invalid/i],
  ])('does what its memory cannot bear (%s) has crashed', async (name, message) => {
    const { outcome, status } = await run(name)
    expect([outcome, status]).toEqual([{ kind: 'crashed', message: expect.stringMatching(message) }, 0])
  })

  test.each([
    ['silent', /no answer/],
    ['no-end-of-head', /more than 65536 bytes/],
    ['no-colon', /"Content-Type text\/plain"/],
    ['carriage-return', /no CGI header|invalid/i],
    ['nul', /no CGI header|invalid/i],
    ['status-101', /101/],
    ['status-999', /999/],
    ['status-words', /"ok"/],
  ])('answers what is no answer (%s) is told why', async (name, message) => {
    const { outcome, status } = await run(name)
    expect([outcome, status]).toEqual([
      { kind: 'output_invalid', message: expect.stringMatching(message) },
      0,
    ])
  })

  test.each(['long-length', 'short-length'])(
    'lies about its length (%s) sends what it wrote, or nothing',
    async (name) => {
      const { outcome, body, rawHeaders } = await run(name)
      if (outcome.kind !== 'answered') return expect(outcome.kind).toMatch(/output_invalid|crashed/)
      const at = rawHeaders.findIndex((header) => header.toLowerCase() === 'content-length')
      expect([body.toString(), rawHeaders[at + 1]]).toEqual(['body', '4'])
    },
  )

  test('speaks of the connection has it left out of its answer', async () => {
    const { outcome, body, rawHeaders } = await run('chunked')
    expect([outcome.kind, body.toString()]).toEqual(['answered', 'body'])
    const names = rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
    expect(names.filter((name) => name === 'content-length')).toHaveLength(1)
    expect(names).not.toContain('transfer-encoding')
  })

  test('forges a fault has answered: it does not know the token', async () => {
    expect(await run('receipt')).toMatchObject({ status: 200, outcome: { kind: 'answered' } })
  })

  test('breaks off in the middle has crashed, after what it sent', async () => {
    const { outcome, status, body } = await run('half')
    expect([outcome.kind, status]).toEqual(['crashed', 200])
    expect(body.length).toBeLessThanOrEqual(4 * 65_536)
  })

  test('writes a gigabyte is stopped at the limit, and one to its errors slows itself down', async () => {
    expect((await run('flood-output')).outcome).toEqual({
      kind: 'output_too_large',
      bytesMax: limits.responseBodyBytesMax,
    })
    let heardBytes = 0
    const onOutput = (chunk: Buffer) => {
      heardBytes += chunk.length
    }
    const { outcome } = await run('flood-errors', { timeoutMs: 1_500, onOutput })
    expect(['timeout', 'answered', 'crashed']).toContain(outcome.kind)
    expect(heardBytes).toBeLessThan(8 * limits.programOutputBytesPerSecondMax)
  })

  test.each(['poll-nothing', 'read-past-end'])('never ends (%s) ends with its time', async (name) => {
    expect((await run(name, { timeoutMs: 200 })).outcome).toEqual({ kind: 'timeout', timeoutMs: 200 })
  })

  test('opens without end, lists from nowhere and seeks beyond is told so by its own library', async () => {
    expect((await run('open-many')).body.toString()).toMatch(/^10\d\d /)
    expect((await run('list-long')).body.toString()).toBe('0 0')
    expect((await run('seek-far')).body.toString()).toMatch(/^\d+ 0$/)
  })
})
