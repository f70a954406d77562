import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, describe, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import type { UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { type Answer, collectAnswer } from './collect-answer.ts'
import type { CallOutcome, Instance, ProgramFiles, Runtime, StartOptions } from './runtime.ts'

/** What a runtime must bring to be examined: itself, and programs written for it. */
export interface ComplianceSubject {
  readonly createRuntime: () => Promise<Runtime>
  readonly programs: Readonly<Record<ComplianceProgram, ProgramFiles>>
  /** Whether each call has a process of its own, so that one that runs too long takes nothing with it. */
  readonly outlivesCalls?: boolean
}

/**
 * - `echo` answers with the request's body as it comes, the status in the query (`?status=`), the headers `x-method`,
 *   `x-target` and `x-seen` (what it saw of the request's `x-test`), and two cookies, `a=1` and `b=2`.
 * - `bytes` answers `?size=` bytes, of which byte `i` is `i % 251`, in pieces.
 * - `count` reads the whole request and answers how many bytes it had.
 * - `settings` answers JSON: `{ secret: env.SECRET, params: env.params }`.
 * - `endless` never stops sending.
 * - `loop` never gives the processor back, `hog` takes memory without end, `crash` ends with the word `ouch`.
 */
export type ComplianceProgram = 'echo' | 'bytes' | 'count' | 'settings' | 'endless' | 'loop' | 'hog' | 'crash'

/** For programs that should answer, or break another limit, on the slowest machine. */
export const ampleMs = 60_000
const bodyBytes = 50 * MiB
/** Buffers of sockets and pools; far below a body. */
const bufferedBytesMax = 24 * MiB

/** Examines a runtime by what every program and every caller may rely on. */
export function testRuntimeCompliance(
  name: string,
  { createRuntime, programs, outlivesCalls = false }: ComplianceSubject,
): void {
  describe(name, () => {
    const shared = shareRuntime(createRuntime)
    afterAll(() => shared[Symbol.asyncDispose]())
    const subject: Examined = { runtime: shared.runtime, programs, outlivesCalls }
    describe('HTTP', () => testHttp(subject))
    describe('streams', () => testStreams(subject))
    describe('limits', () => testLimits(subject))
  })
}

function testHttp(subject: Examined): void {
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    test(`a ${method} request reaches the program with its path and query`, async () => {
      await using program = await startProgram(subject, 'echo')
      const answer = await program.call({ method, target: '/a/b%20c?x=1&y=%2F' })
      expect(header(answer, 'x-method')).toBe(method)
      expect(header(answer, 'x-target')).toBe('/a/b%20c?x=1&y=%2F')
      expect(answer.outcome).toEqual({ kind: 'answered' })
    })
  }

  test('a HEAD request gets a head and no body', async () => {
    await using program = await startProgram(subject, 'bytes')
    const answer = await program.call({ method: 'HEAD', target: '/?size=1000' })
    expect(answer).toMatchObject({ status: 200, outcome: { kind: 'answered' } })
    expect(answer.body).toHaveLength(0)
  })

  test.each([0, 1, MiB])('a binary body of %d bytes comes back unchanged', async (size) => {
    await using program = await startProgram(subject, 'echo')
    const body = pattern(size)
    const answer = await program.call({ method: 'POST', target: '/', body, headers: length(size) })
    expect(answer.body.equals(body)).toBe(true)
  })

  test.each([200, 201, 204, 301, 304, 400, 404, 418, 500, 503, 599])(
    'a program may answer %d',
    async (status) => {
      await using program = await startProgram(subject, 'echo')
      const answer = await program.call({ method: 'GET', target: `/?status=${status}` })
      expect(answer.status).toBe(status)
      expect(answer.outcome.kind).toBe('answered')
    },
  )

  test('a header that is sent twice arrives with both values', async () => {
    await using program = await startProgram(subject, 'echo')
    const answer = await program.call({
      method: 'GET',
      target: '/',
      headers: ['x-test', 'one', 'x-test', 'two'],
    })
    expect(header(answer, 'x-seen')).toBe('one, two')
  })

  test('two cookies of an answer stay two', async () => {
    await using program = await startProgram(subject, 'echo')
    const answer = await program.call({ method: 'GET', target: '/' })
    const cookies = answer.rawHeaders.filter(
      (_, i) => answer.rawHeaders[i - 1]?.toLowerCase() === 'set-cookie',
    )
    expect(cookies).toEqual(['a=1', 'b=2'])
  })

  test('a program finds its secrets and its params', async () => {
    const settings = { env: { SECRET: 'ünlock "me"\n$HOME' }, params: { list: [1, 'two', null] } }
    await using program = await startProgram(subject, 'settings', settings)
    const answer = await program.call({ method: 'GET', target: '/' })
    expect(JSON.parse(answer.body.toString())).toEqual({
      secret: settings.env.SECRET,
      params: settings.params,
    })
  })

  test('many calls at once each get their own answer', async () => {
    await using program = await startProgram(subject, 'echo')
    const targets = Array.from({ length: 40 }, (_, i) => `/call/${i}`)
    const answers = await Promise.all(targets.map((target) => program.call({ method: 'GET', target })))
    expect(answers.map((answer) => header(answer, 'x-target'))).toEqual(targets)
    expect(program.instance.inFlight).toBe(0)
    expect(program.instance.callsAnswered).toBe(targets.length)
  })
}

function testStreams(subject: Examined): void {
  test('an answer of 7 MiB arrives byte for byte', async () => {
    await using program = await startProgram(subject, 'bytes')
    const size = 7 * MiB + 13
    const answer = await program.call({ method: 'GET', target: `/?size=${size}` })
    expect(sha256(answer.body)).toBe(sha256(pattern(size)))
  })

  test('a long answer that is read slowly is not kept in memory', async () => {
    await using program = await startProgram(subject, 'bytes')
    const memory = watchMemory()
    let receivedBytes = 0
    const outcome = await new Promise<CallOutcome>((resolve) => {
      const exchange: UpstreamExchange = program.instance.call(
        { method: 'GET', target: `/?size=${bodyBytes}`, rawHeaders: ['host', 'test'] },
        {
          onHead: () => undefined,
          onData(chunk) {
            receivedBytes += chunk.length
            memory.look()
            exchange.pause()
            setImmediate(() => exchange.resume())
          },
          onEnd: resolve,
        },
      )
    })
    expect(outcome).toEqual({ kind: 'answered' })
    expect(receivedBytes).toBe(bodyBytes)
    expect(memory.grownBytes()).toBeLessThan(bufferedBytesMax)
  })

  test('a long request of unknown length is passed on as the program reads it', async () => {
    await using program = await startProgram(subject, 'count')
    const memory = watchMemory()
    const body = streamOf(bodyBytes, memory.look)
    const answer = await program.call({ method: 'POST', target: '/', body })
    expect(answer.body.toString()).toBe(String(bodyBytes))
    expect(memory.grownBytes()).toBeLessThan(bufferedBytesMax)
  })

  test('an answer begins before the request has ended', async () => {
    await using program = await startProgram(subject, 'echo')
    const body = new Readable({ read: () => undefined })
    const received = new EventTarget()
    const ended = new Promise<CallOutcome>((resolve) => {
      program.instance.call(
        { method: 'POST', target: '/', rawHeaders: ['host', 'test'], body },
        {
          onHead: () => undefined,
          onData: (chunk) => void received.dispatchEvent(new CustomEvent('data', { detail: String(chunk) })),
          onEnd: resolve,
        },
      )
    })
    for (const word of ['first', 'second']) {
      const next = once(received, 'data')
      body.push(word)
      expect((await next)[0].detail).toBe(word)
    }
    body.push(null)
    expect(await ended).toEqual({ kind: 'answered' })
  })

  test('a caller that leaves in the middle frees its place, and the program goes on', async () => {
    await using program = await startProgram(subject, 'endless')
    for (const _ of ['once', 'and again']) {
      await new Promise<void>((resolve) => {
        const exchange: UpstreamExchange = program.instance.call(
          { method: 'GET', target: '/', rawHeaders: ['host', 'test'] },
          {
            onHead: () => undefined,
            onData() {
              exchange.abort()
              resolve()
            },
            onEnd: ({ kind }) => expect.unreachable(`ended as ${kind} after it was aborted`),
          },
        )
      })
      expect(program.instance.inFlight).toBe(0)
    }
  })
}

function testLimits(subject: Examined): void {
  test('an answer without end stops at the limit', async () => {
    await using program = await startProgram(subject, 'endless')
    let receivedBytes = 0
    const outcome = await new Promise<CallOutcome>((resolve) => {
      program.instance.call(
        { method: 'GET', target: '/', rawHeaders: ['host', 'test'] },
        {
          onHead: () => undefined,
          onData(chunk) {
            receivedBytes += chunk.length
          },
          onEnd: resolve,
        },
      )
    })
    expect(outcome).toEqual({ kind: 'output_too_large', bytesMax: limits.responseBodyBytesMax })
    expect(receivedBytes).toBeLessThanOrEqual(limits.responseBodyBytesMax)
  })

  test('an endless loop ends with its time, and the program is started again', async () => {
    const timeoutMs = 100
    await using program = await startProgram(subject, 'loop', {
      limits: { timeoutMs, memoryMiB: 64 },
    })
    expect((await program.call({ method: 'GET', target: '/' })).outcome).toEqual({
      kind: 'timeout',
      timeoutMs,
    })
    if (subject.outlivesCalls) expect(program.instance.isAlive).toBe(true)
    else expect(await program.instance.whenDead).toEqual({ kind: 'timeout' })
    await using again = await startProgram(subject, 'echo')
    expect((await again.call({ method: 'GET', target: '/' })).status).toBe(200)
  })

  test('a program that wants more memory than it has fails alone', async () => {
    await using other = await startProgram(subject, 'echo')
    await using program = await startProgram(subject, 'hog', {
      limits: { timeoutMs: ampleMs, memoryMiB: 48 },
    })
    const { outcome } = await program.call({ method: 'GET', target: '/' })
    expect(outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 48 })
    expect((await other.call({ method: 'GET', target: '/' })).status).toBe(200)
  })

  test('a program that fails says why', async () => {
    await using program = await startProgram(subject, 'crash')
    const { outcome, status } = await program.call({ method: 'GET', target: '/' })
    expect(outcome).toMatchObject({ kind: 'crashed', message: expect.stringContaining('ouch') })
    expect(status).toBe(0)
  })

  test('a program that was stopped tells its callers, and takes no more', async () => {
    await using program = await startProgram(subject, 'endless')
    const ended = program.call({ method: 'GET', target: '/' })
    program.instance.kill({ kind: 'stopped', why: 'of a test' })
    expect((await ended).outcome.kind).toBe('stopped')
    expect(await program.instance.whenDead).toEqual({ kind: 'stopped', why: 'of a test' })
    expect((await program.call({ method: 'GET', target: '/' })).outcome.kind).toBe('stopped')
  })
}

interface RunningProgram extends AsyncDisposable {
  readonly instance: Instance
  call(request: Omit<UpstreamRequest, 'rawHeaders'> & { headers?: readonly string[] }): Promise<Answer>
}

interface Examined {
  readonly runtime: () => Promise<Runtime>
  readonly programs: ComplianceSubject['programs']
  readonly outlivesCalls: boolean
}

/** One runtime for all tests, as in a provider; made by the first that asks. */
function shareRuntime(create: () => Promise<Runtime>): AsyncDisposable & { runtime: () => Promise<Runtime> } {
  let made: Promise<Runtime> | undefined
  return {
    runtime() {
      made ??= create()
      return made
    },
    async [Symbol.asyncDispose]() {
      await (await made)?.[Symbol.asyncDispose]()
    },
  }
}

async function startProgram(
  { runtime, programs }: Examined,
  name: ComplianceProgram,
  options: Partial<StartOptions> = {},
): Promise<RunningProgram> {
  const defaults = { env: {}, params: null, limits: { timeoutMs: ampleMs, memoryMiB: 64 } }
  const signal = new AbortController().signal
  const instance = await (await runtime()).start(programs[name], { ...defaults, ...options }, signal)
  return {
    instance,
    call: ({ headers = [], ...request }) =>
      collectAnswer(instance, { ...request, rawHeaders: ['host', 'test', ...headers] }),
    [Symbol.asyncDispose]: async () => await instance[Symbol.asyncDispose](),
  }
}

function header({ rawHeaders }: Answer, name: string): string | undefined {
  const index = rawHeaders.findIndex((one, i) => i % 2 === 0 && one.toLowerCase() === name)
  return index < 0 ? undefined : rawHeaders[index + 1]
}

function length(size: number): string[] {
  return ['content-length', String(size)]
}

function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i++) bytes[i] = i % 251
  return bytes
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A body that makes its bytes as they are asked for. */
function streamOf(size: number, onRead: () => void): Readable {
  const chunk = Buffer.alloc(64 * 1024, 7)
  let leftBytes = size
  return new Readable({
    read() {
      onRead()
      const next = Math.min(leftBytes, chunk.length)
      leftBytes -= next
      this.push(next > 0 ? Buffer.from(chunk.subarray(0, next)) : null)
    },
  })
}

/**
 * How much more this process holds outside the JavaScript heap, where bodies are, at its highest. What only waits to be
 * collected is not held: before anything counts as too much, the collector runs.
 */
function watchMemory(): { look: () => void; grownBytes: () => number } {
  const beforeBytes = process.memoryUsage().arrayBuffers
  const grownBytes = () => process.memoryUsage().arrayBuffers - beforeBytes
  let highestBytes = 0
  return {
    look() {
      if (grownBytes() >= bufferedBytesMax) collectGarbage()
      highestBytes = Math.max(highestBytes, grownBytes())
    },
    grownBytes: () => highestBytes,
  }
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  // Buffers are given back by another thread, which may be late where the machine is busy; the next turn waits for it.
  collect()
}
