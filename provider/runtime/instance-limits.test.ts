import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { collectAnswer } from './collect-answer.ts'
import { createJsRuntime } from './js/js-runtime.ts'
import type { ProgramLimits } from './runtime.ts'

/** The limits that a deployment sets beside time and memory, on a real program. */

const never = new AbortController().signal

const program = `export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url)
    if (pathname === '/spin') for (const end = Date.now() + 60_000; Date.now() < end;);
    if (pathname === '/turns') {
      // Gives the thread back between turns, so that the process still answers.
      for (let turn = 0; turn < 1e6; turn++) {
        for (let n = 0; n < 1e6; n++);
        await new Promise((resolve) => setTimeout(resolve, 0))
      }
    }
    if (pathname === '/wait') await new Promise((resolve) => setTimeout(resolve, 600))
    return new Response('x'.repeat(Number(searchParams.get('bytes') ?? 1)), { headers: { 'x-large': 'h'.repeat(Number(searchParams.get('head') ?? 0)) } })
  },
}`

test('a call that takes more processor time than it may ends with that, long before its wall time', async () => {
  await using world = await setup({ cpuMs: 200 })
  expect((await world.call('/spin')).outcome).toEqual({ kind: 'out_of_cpu', cpuMs: 200 })
})

test('one that still lets others run is stopped alone', async () => {
  await using world = await setup({ cpuMs: 200 })
  expect((await world.call('/turns')).outcome).toEqual({ kind: 'out_of_cpu', cpuMs: 200 })
  expect(await world.instance.isAlive).toBe(true)
  expect((await world.call('/')).outcome).toEqual({ kind: 'answered' })
})

test('waiting takes none, and neither does what calls before it took', async () => {
  await using world = await setup({ cpuMs: 200 })
  await world.call('/turns')
  expect((await world.call('/wait')).outcome).toEqual({ kind: 'answered' })
})

test('an answer may have as many bytes as the deployment says, and not one more', async () => {
  await using world = await setup({ responseBytes: 1_000 })
  expect(await world.call('/?bytes=1000')).toMatchObject({ outcome: { kind: 'answered' } })
  expect((await world.call('/?bytes=1001')).outcome).toEqual({ kind: 'output_too_large', bytesMax: 1_000 })
})

test('a head beyond what any answer may have is told as that', async () => {
  await using world = await setup({})
  const { outcome } = await world.call(`/?head=${limits.headerBytesMax}`)
  expect(outcome).toEqual({ kind: 'headers_too_large', bytesMax: limits.answerHeaderBytesMax })
})

async function setup(changes: Partial<ProgramLimits>) {
  await using starting = new AsyncDisposableStack()
  const runtime = starting.use(
    await createJsRuntime(
      { clock: systemClock, log: createTestLog() },
      { mode: 'process', zygotes: 0 },
      never,
    ),
  )
  const files = [{ path: 'index.js', bytes: Buffer.from(program) }]
  const programLimits = { timeoutMs: 15_000, memoryMiB: 64, ...changes }
  const options = { env: {}, params: null, limits: programLimits }
  const instance = await runtime.start({ files, entry: 'index.js' }, options, never)
  const parts = starting.move()
  return {
    instance,
    call: (target: string) =>
      collectAnswer(instance, { method: 'GET', target, rawHeaders: ['host', 'test'] }),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
