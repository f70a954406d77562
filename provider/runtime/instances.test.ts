import { describe, expect, test } from 'vitest'
import { createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { collectAnswer } from './collect-answer.ts'
import { createInstances, type InstancesOptions, type Launch } from './instances.ts'
import { createJsRuntime } from './js/js-runtime.ts'
import type { Instance } from './runtime.ts'

const never = new AbortController().signal
const counting = 'let n = 0; export default { fetch: () => new Response(String(++n)) }'
const crashing = "throw new Error('at once')"
const exhausting =
  'const kept = []; export default { fetch() { for (;;) kept.push(new Uint8Array(1 << 20).fill(1)) } }'
const looping = `let n = 0; export default { async fetch({ url }) {
  if (url.endsWith('/loop')) for (;;);
  if (url.endsWith('/hang')) await new Promise((resolve) => setTimeout(resolve, 60000))
  return new Response(String(++n)) } }`
const hungry = `const kept = []; export default { fetch({ url }) {
  while (url.endsWith('/eat')) kept.push(new Uint8Array(1 << 20).fill(1))
  return new Response('well') } }`
const waiting = `export default { fetch: () => new Response(new ReadableStream({
  start(controller) { controller.enqueue(new Uint8Array(1)) }, pull: () => new Promise((r) => setTimeout(r, 60000)) })) }`

describe('instances', () => {
  test('callers at the same time share one start, and later ones find it warm', async () => {
    await using world = await setup()
    const load = world.loader(counting)
    const found = await Promise.all([1, 2, 3].map(() => world.instances.acquire('a', load, never)))
    expect(new Set(found).size).toBe(1)
    expect(await answer(found[0]!)).toBe('1')
    expect(await answer(await world.instances.acquire('a', load, never))).toBe('2')
    expect(load.calls).toBe(1)
  })

  test('each deployment has a process of its own', async () => {
    await using world = await setup()
    const [a, b] = [await world.start('a', counting), await world.start('b', counting)]
    expect([await answer(a), await answer(a), await answer(b)]).toEqual(['1', '2', '1'])
  })

  test('a caller that leaves during the start does not end it for the others', async () => {
    await using world = await setup()
    const leaving = new AbortController()
    const load = world.loader(counting)
    const first = world.instances.acquire('a', load, leaving.signal)
    const second = world.instances.acquire('a', load, never)
    leaving.abort(new Error('gone'))
    await expect(first).rejects.toThrow('gone')
    expect(await answer(await second)).toBe('1')
  })

  test('where there is no room, the program that was called longest ago makes some', async () => {
    await using world = await setup({ instancesMax: 2 })
    const [a, b] = [await world.start('a', counting), await world.start('b', counting)]
    await world.start('a', counting)
    await world.start('c', counting)
    expect((await b.whenDead).kind).toBe('stopped')
    expect(await answer(a)).toBe('1')
    expect(world.instances.count).toBe(2)
  })

  test('where everything is busy, one more is told so', async () => {
    await using world = await setup({ instancesMax: 1 })
    const a = await world.start('a', waiting)
    await using _busy = await begin(a)
    await expect(world.start('b', counting)).rejects.toMatchObject({ code: 'provider_busy' })
  })

  test('memory that all hold together is bounded: who is idle makes room, has gone before another begins, and who is busy stays', async () => {
    await using world = await setup({ capacityMiB: 250 })
    const start = (key: string, source: string) =>
      world.instances.acquire(key, world.loader(source), never, { memoryMiB: 100 })
    const [a, b] = [await start('a', waiting), await start('b', counting)]
    await using _busy = await begin(a)
    const c = await start('c', counting)
    expect((await b.whenDead).kind).toBe('stopped')
    expect(world.instances.count).toBe(2)
    world.instances.setCapacity(150)
    expect((await c.whenDead).kind).toBe('stopped')
    await expect(start('d', counting)).rejects.toMatchObject({
      code: 'provider_busy',
      details: { retryAfterSeconds: 1 },
    })
    expect(a.inFlight).toBe(1)
  })

  test('a program that is idle for long enough is ended, one that is called is not', async () => {
    const instanceIdleMsMax = 60_000
    await using world = await setup({ instanceIdleMsMax })
    const [idle, used] = [await world.start('idle', counting), await world.start('used', counting)]
    await world.clock.advance(instanceIdleMsMax / 2)
    await world.start('used', counting)
    await world.clock.advance(instanceIdleMsMax / 2)
    expect(await idle.whenDead).toMatchObject({ kind: 'stopped' })
    expect(await answer(used)).toBe('1')
  })

  test('a program that died under a call is started again at once', async () => {
    await using world = await setup()
    const first = await world.start('a', exhausting)
    const { outcome } = await collectAnswer(first, request)
    expect(outcome.kind).toBe('out_of_memory')
    await first.whenDead
    expect(await world.start('a', exhausting)).not.toBe(first)
  })

  test('a call right after one that looped waits for a new process instead of failing with the old one', async () => {
    await using world = await setup()
    const load = async () => launch(looping, 200)
    const first = await world.instances.acquire('a', load, never)
    expect(await answer(first)).toBe('1')
    const { outcome } = await collectAnswer(first, { ...request, target: '/loop' })
    expect(outcome.kind).toBe('timeout')
    const second = await world.instances.acquire('a', load, never)
    expect(second).not.toBe(first)
    expect(await answer(second)).toBe('1')
  })

  test('a call right after one that hung goes to the same process, which is well', async () => {
    await using world = await setup()
    const load = async () => launch(looping, 200)
    const first = await world.instances.acquire('a', load, never)
    const { outcome } = await collectAnswer(first, { ...request, target: '/hang' })
    expect(outcome.kind).toBe('timeout')
    expect(await world.instances.acquire('a', load, never)).toBe(first)
    expect(await answer(first)).toBe('1')
  })

  test('a program that does not start rests longer and longer before it is tried again', async () => {
    await using world = await setup()
    const load = world.loader(crashing)
    const tryIt = () => world.instances.acquire('a', load, never)
    for (let tries = 0; tries <= limits.programDeathsFreeMax; tries++)
      await expect(tryIt()).rejects.toMatchObject({ code: 'program_crashed' })
    for (const restMs of [1, 2, 4].map((times) => times * limits.programRestMsMin)) {
      expect(world.rests.at(-1)).toBe(restMs)
      await world.clock.advance(restMs - 1)
      const starts = load.calls
      await expect(tryIt()).rejects.toMatchObject({
        code: 'program_resting',
        details: { retryAfterSeconds: 1 },
      })
      expect([load.calls, world.instances.resting]).toEqual([starts, 1])
      await world.clock.advance(1)
      expect(world.instances.resting).toBe(0)
      await expect(tryIt()).rejects.toMatchObject({ code: 'program_crashed' })
    }
    expect(world.instances.rests).toBe(world.rests.length)
  })

  test('a program that is ended again and again rests, whatever it answered before, and others are started as ever', async () => {
    await using world = await setup()
    const eat = async () => {
      const instance = await world.start('a', hungry)
      expect(await answer(instance)).toBe('well')
      return (await collectAnswer(instance, { ...request, target: '/eat' })).outcome.kind
    }
    for (let deaths = 0; deaths <= limits.programDeathsFreeMax; deaths++)
      expect(await eat()).toBe('out_of_memory')
    await expect(eat()).rejects.toMatchObject({
      code: 'program_resting',
      message: expect.stringContaining('it needed more memory than it may have'),
    })
    expect(await answer(await world.start('b', counting))).toBe('1')
    await world.clock.advance(limits.programRestMsMin)
    expect(await eat()).toBe('out_of_memory')
    await expect(eat()).rejects.toMatchObject({ code: 'program_resting' })
  })

  test('a provider that lets nothing rest starts it again at once', async () => {
    await using world = await setup({ restMsMax: () => 0 })
    for (let tries = 0; tries < 5; tries++)
      await expect(world.start('a', crashing)).rejects.toMatchObject({ code: 'program_crashed' })
    expect(world.instances.rests).toBe(0)
  })

  test('what was ours and not the program’s delays nothing', async () => {
    await using world = await setup()
    let tries = 0
    const load = async (): Promise<Launch> => {
      if (++tries < 4) throw new ProtocolError('content_unreachable', 'No.', { hint: 'Later.' })
      return launch(counting)
    }
    for (let i = 1; i < 4; i++) {
      await expect(world.instances.acquire('a', load, never)).rejects.toMatchObject({
        code: 'content_unreachable',
      })
    }
    expect(await answer(await world.instances.acquire('a', load, never))).toBe('1')
  })

  test('a kind of program that nobody runs here is refused', async () => {
    await using world = await setup()
    const load = async (): Promise<Launch> => ({ ...launch(counting), kind: 'native' })
    await expect(world.instances.acquire('a', load, never)).rejects.toMatchObject({
      code: 'runtime_unavailable',
    })
  })

  test('the end waits for the calls in flight', async () => {
    const world = await setup()
    const instance = await world.start('a', waiting)
    const call = await begin(instance)
    const ended = world.instances[Symbol.asyncDispose]()
    await expect(world.start('b', counting)).rejects.toMatchObject({ code: 'sandbox_unavailable' })
    expect(instance.inFlight).toBe(1)
    await call[Symbol.asyncDispose]()
    await ended
    expect((await instance.whenDead).kind).toBe('stopped')
    await world[Symbol.asyncDispose]()
  })
})

const request = { method: 'GET', target: '/', rawHeaders: ['host', 'test'] }

async function answer(instance: Instance): Promise<string> {
  return (await collectAnswer(instance, request)).body.toString()
}

/** A call that has begun to be answered; disposing it hangs up. */
function begin(instance: Instance): Promise<AsyncDisposable> {
  return new Promise((resolve) => {
    const exchange = instance.call(request, {
      onHead: () => resolve({ [Symbol.asyncDispose]: async () => exchange.abort() }),
      onData: () => undefined,
      onEnd: () => undefined,
    })
  })
}

function launch(source: string, timeoutMs = 10_000): Launch {
  return {
    kind: 'js',
    program: { files: [{ path: 'index.js', bytes: Buffer.from(source) }], entry: 'index.js' },
    options: { env: {}, params: null, limits: { timeoutMs, memoryMiB: 32 } },
  }
}

async function setup(options: Omit<InstancesOptions, 'runtimes'> = {}) {
  await using starting = new AsyncDisposableStack()
  const log = createTestLog()
  const runtime = starting.use(
    await createJsRuntime({ clock: systemClock, log }, { mode: 'process', zygotes: 0 }, never),
  )
  const clock = createTestClock()
  const instances = starting.use(createInstances({ clock, log }, { runtimes: [runtime], ...options }))
  const parts = starting.move()
  const rests: number[] = []
  const loader = (source: string) => {
    const load = async (): Promise<Launch> => {
      load.calls++
      return { ...launch(source), onRest: (restMs) => rests.push(restMs) }
    }
    load.calls = 0
    return load
  }
  return {
    clock,
    instances,
    loader,
    rests,
    start: (key: string, source: string) => instances.acquire(key, loader(source), never),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
