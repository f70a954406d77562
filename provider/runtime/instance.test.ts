import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { collectAnswer } from './collect-answer.ts'
import { createJsRuntime } from './js/js-runtime.ts'
import type { CallOutcome } from './runtime.ts'

const never = new AbortController().signal
const timeoutMs = 1_000

const program = `export default {
  async fetch(request) {
    if (request.url.endsWith('/hang')) await new Promise((resolve) => setTimeout(resolve, 2 ** 30))
    return new Response(request.body)
  },
}`

test('a caller who sends slowly does not use up the time of the program', async () => {
  await using world = await setup()
  const body = new Readable({ read: () => undefined })
  const answer = world.call('/', body)
  await world.clock.advance(10 * timeoutMs)
  expect(world.instance.inFlight).toBe(1)
  body.push('late')
  body.push(null)
  expect(await answer).toMatchObject({ body: Buffer.from('late'), outcome: { kind: 'answered' } })
})

test('a caller who reads slowly does not use up the time of the program', async () => {
  await using world = await setup()
  const outcome = await new Promise<CallOutcome>((resolve) => {
    const exchange = world.instance.call(
      { method: 'POST', target: '/', rawHeaders: ['host', 'test'], body: Buffer.alloc(10) },
      {
        async onHead() {
          exchange.pause()
          await world.clock.advance(10 * timeoutMs)
          exchange.resume()
        },
        onData: () => undefined,
        onEnd: resolve,
      },
    )
  })
  expect(outcome).toEqual({ kind: 'answered' })
})

test('a caller who does nothing for very long loses its place, and that is no fault of the program', async () => {
  await using world = await setup()
  const answer = world.call('/', new Readable({ read: () => undefined }))
  await world.clock.advance(limits.idleTimeoutMs + limits.watchdogIntervalMs)
  const { outcome } = await answer
  expect(outcome).toMatchObject({ kind: 'refused', error: { code: 'request_timeout' } })
})

test('a call ends with its time and not before', async () => {
  await using world = await setup()
  const answer = world.call('/hang')
  await world.clock.advance(timeoutMs)
  expect(world.instance.inFlight).toBe(1)
  await world.clock.advance(limits.watchdogIntervalMs)
  expect((await answer).outcome).toEqual({ kind: 'timeout', timeoutMs })
  expect(await world.call('/', Readable.from([Buffer.from('on')]))).toMatchObject({ body: Buffer.from('on') })
})

test('a request whose body breaks off is the caller’s affair', async () => {
  await using world = await setup()
  const body = new Readable({ read: () => undefined })
  const answer = world.call('/', body)
  body.destroy(new Error('the caller hung up'))
  expect((await answer).outcome).toMatchObject({ kind: 'refused', error: { code: 'bad_request' } })
})

test('whoever waits for quiet hears of it', async () => {
  await using world = await setup()
  await world.instance.whenIdle()
  const body = new Readable({ read: () => undefined })
  const answer = world.call('/', body)
  const quiet = world.instance.whenIdle()
  body.push(null)
  await answer
  await quiet
  expect(world.instance.inFlight).toBe(0)
})

/** A program on a clock that stands still. */
async function setup() {
  await using starting = new AsyncDisposableStack()
  const clock = createTestClock()
  const runtime = starting.use(
    await createJsRuntime({ clock, log: createTestLog() }, { mode: 'process', zygotes: 0 }, never),
  )
  const files = [{ path: 'index.js', bytes: Buffer.from(program) }]
  const options = { env: {}, params: null, limits: { timeoutMs, memoryMiB: 64 } }
  const instance = await runtime.start({ files, entry: 'index.js' }, options, never)
  const parts = starting.move()
  return {
    clock,
    instance,
    call: (target: string, body?: Readable) =>
      collectAnswer(instance, {
        method: 'POST',
        target,
        rawHeaders: ['host', 'test'],
        ...(body && { body }),
      }),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
