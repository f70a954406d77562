import { once } from 'node:events'
import { Readable } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { createTestClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { limits } from '../../../protocol/limits.ts'
import { collectAnswer } from '../collect-answer.ts'
import { createInstances } from '../instances.ts'
import type { Instance } from '../runtime.ts'
import { createWatchdog } from '../watchdog.ts'
import { createCgiInstance } from './cgi-instance.ts'
import { createNativeRuntime } from './native-runtime.ts'
import { canRunNatively, compile } from './testing/compile.ts'

const never = new AbortController().signal
const timeoutMs = 1_000

test('a process that takes long to stand costs its call no time of the program, and is not waited for for ever', async () => {
  const clock = createTestClock()
  const watchdog = createWatchdog({ clock }, { intervalMs: limits.watchdogIntervalMs })
  await using instance = createCgiInstance(
    {
      clock,
      watchdog,
      take: (signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      refill: () => undefined,
      openWayOut: async () => undefined,
    },
    {
      limits: { timeoutMs, memoryMiB: 32 },
      launch: () => Buffer.alloc(0),
      redact: (line) => line,
      onOutput: undefined,
    },
  )
  const answer = collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'test'] })
  await clock.advance(2 * timeoutMs)
  expect(instance.inFlight).toBe(1)
  await clock.advance(limits.cgiQueueMsMax)
  expect((await answer).outcome).toMatchObject({ kind: 'stopped', message: expect.stringContaining('start') })
})

describe.skipIf(!canRunNatively)('CGI programs, with a C compiler and bubblewrap', () => {
  const bytes = canRunNatively ? compile('compliance.c') : new Uint8Array()
  const clock = createTestClock()
  const making = canRunNatively
    ? createNativeRuntime({ clock, log: createTestLog() }, { root: 'none', zygotes: 0 }, never)
    : undefined
  afterAll(async () => (await making)?.[Symbol.asyncDispose]())

  const start = async (entry: string, env: Readonly<Record<string, string>> = {}): Promise<Instance> =>
    (await making!).start(
      { files: [{ path: entry, bytes }], entry },
      { env, params: null, limits: { timeoutMs, memoryMiB: 32 } },
      never,
    )

  const count = (instance: Instance, body: Readable) =>
    collectAnswer(instance, { method: 'POST', target: '/', rawHeaders: ['host', 'test'], body })

  test('a caller who sends slowly does not use up the time of the program', async () => {
    await using instance = await start('count')
    const body = new Readable({ read: () => undefined })
    const answer = count(instance, body)
    await once(body, 'resume')
    await clock.advance(10 * timeoutMs)
    expect(instance.inFlight).toBe(1)
    body.push('late')
    body.push(null)
    expect(await answer).toMatchObject({ body: Buffer.from('4'), outcome: { kind: 'answered' } })
  })

  test('a caller who does nothing for very long loses its place', async () => {
    await using instance = await start('count')
    const body = new Readable({ read: () => undefined })
    const answer = count(instance, body)
    await once(body, 'resume')
    await clock.advance(limits.idleTimeoutMs + 2 * limits.watchdogIntervalMs)
    expect((await answer).outcome).toMatchObject({ kind: 'refused', error: { code: 'request_timeout' } })
  })

  test('a body that breaks off is the caller’s affair', async () => {
    await using instance = await start('count')
    const body = new Readable({ read: () => undefined })
    const answer = count(instance, body)
    body.push('a part')
    body.destroy()
    expect((await answer).outcome).toMatchObject({ kind: 'refused', error: { code: 'bad_request' } })
    expect(instance.isAlive).toBe(true)
  })

  test('calls beyond the processes wait for one, but not for ever', async () => {
    await using instance = await start('count')
    const bodies = Array.from(
      { length: limits.cgiProcessesMax + 2 },
      () => new Readable({ read: () => undefined }),
    )
    const begun = bodies.map((body) => once(body, 'resume'))
    const answers = bodies.map((body) => count(instance, body))
    const finish = (body: Readable | undefined) => {
      body?.push('x')
      body?.push(null)
    }
    finish(bodies[0])
    expect((await answers[0])?.outcome).toEqual({ kind: 'answered' })
    // The last but one has the place that is free now.
    finish(bodies.at(-2))
    expect((await answers.at(-2))?.body.toString()).toBe('1')
    await Promise.all(begun)
    const late = count(instance, new Readable({ read: () => undefined }))
    await clock.advance(limits.cgiQueueMsMax + 2 * limits.watchdogIntervalMs)
    expect((await late).outcome).toMatchObject({ kind: 'stopped', message: expect.stringContaining('busy') })
    expect(instance.inFlight).toBe(limits.cgiProcessesMax)
    instance.kill({ kind: 'stopped', why: 'of a test' })
    expect(instance.inFlight).toBe(0)
  })

  test('a program whose calls are ended for their limits rests like one whose process died', async () => {
    await using instances = createInstances({ clock, log: createTestLog() }, { runtimes: [(await making)!] })
    const acquire = () =>
      instances.acquire(
        'hog',
        async () => ({
          kind: 'native',
          program: { files: [{ path: 'hog', bytes }], entry: 'hog' },
          options: { env: {}, params: null, limits: { timeoutMs, memoryMiB: 32 } },
        }),
        never,
      )
    const hog = async () => {
      const instance = await acquire()
      return collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'test'] })
    }
    for (let deaths = 0; deaths <= limits.programDeathsFreeMax; deaths++)
      expect((await hog()).outcome.kind).toBe('out_of_memory')
    await expect(acquire()).rejects.toMatchObject({ code: 'program_resting' })
    await clock.advance(limits.programRestMsMin)
    expect((await hog()).outcome.kind).toBe('out_of_memory')
  })

  test('a head that fits no environment is refused, and so are secrets', async () => {
    await using instance = await start('echo', { BIG: 'x'.repeat(120_000) })
    const rawHeaders = [
      'host',
      'test',
      ...Array.from({ length: 5 }, (_, i) => [`x-${i}`, 'x'.repeat(100_000)]).flat(),
    ]
    const { outcome } = await collectAnswer(instance, { method: 'GET', target: '/', rawHeaders })
    expect(outcome).toMatchObject({ kind: 'refused', error: { code: 'bad_request' } })
    await expect(start('echo', { SECRET: 'x'.repeat(128 * 1024) })).rejects.toMatchObject({
      code: 'program_invalid',
    })
    await expect(start('echo', { SECRET: 'a\0b' })).rejects.toMatchObject({ code: 'program_invalid' })
  })

  test('what a caller says of a proxy is not the program’s environment', async () => {
    await using instance = await start('settings')
    const { body } = await collectAnswer(instance, {
      method: 'GET',
      target: '/',
      rawHeaders: ['host', 'test', 'proxy', 'http://evil', 'secret', 'forged', 'khachapuri_params', '{}'],
    })
    expect(JSON.parse(body.toString())).toEqual({ secret: '', params: null })
  })
})
