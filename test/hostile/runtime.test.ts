import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { type Answer, collectAnswer } from '../../provider/runtime/collect-answer.ts'
import { createJsRuntime } from '../../provider/runtime/js/js-runtime.ts'
import type { Instance, ProgramFiles, Runtime, StartOptions } from '../../provider/runtime/runtime.ts'
import { createSandbox } from '../../provider/runtime/sandbox/sandbox.ts'
import { attackOurselves } from '../../provider/runtime/self-test.ts'
import type { WorkerdOptions } from '../../provider/runtime/workerd/workerd.ts'
import { createJumpingClock, type JumpingClock } from '../support/clock.ts'
import { drip } from '../support/drip.ts'
import { countTraces, countTracesLeft, descendants } from '../support/traces.ts'
import { readCores, readWeights } from '../support/weights.ts'

const never = new AbortController().signal
const hasBubblewrap = isInstalled('bwrap')

for (const mode of ['auto', 'process', 'bare'] as const) {
  const walls = {
    auto: 'behind the walls of this machine',
    process: 'without bubblewrap',
    bare: 'without cgroups',
  }
  describe(`a hostile program ${walls[mode]}`, () => {
    const clock = createJumpingClock()
    const shared = shareRuntime({ mode, zygotes: 1, startTimeoutMs: ampleMs }, clock)
    const before = countTraces()
    afterAll(async () => {
      await shared[Symbol.asyncDispose]()
      expect(await countTracesLeft(before), 'nothing survives').toEqual(before)
    })
    const start = async (source: string | ProgramFiles, options: Partial<StartOptions> = {}) => {
      const program = typeof source === 'string' ? toProgram(source) : source
      const defaults = { env: {}, params: null, limits: { timeoutMs: ampleMs, memoryMiB: 64 } }
      return (await shared.runtime()).start(program, { ...defaults, ...options }, never)
    }
    testExhaustion(start, clock)
    testReach(start)
    if (mode !== 'auto') return
    testAnswers(start)
    testStarts(start)
    testWeight(start)
  })
}

/** For programs that should answer, or break another limit, on the slowest machine. */
const ampleMs = 60_000

type Start = (source: string | ProgramFiles, options?: Partial<StartOptions>) => Promise<Instance>

function testAnswers(start: Start): void {
  const fetches = (body: string) => `export default { async fetch(request, env, ctx) { ${body} } }`

  test.each([
    [
      'throws at once',
      'export default { fetch() { throw new TypeError("ouch") } }',
      'TypeError: ouch (index.js:1:34)',
    ],
    ['throws later', fetches('await null; throw new Error("ouch")'), 'Error: ouch (index.js:1:69)'],
    ['throws a string', fetches('throw "ouch"'), 'ouch'],
    ['throws nothing', fetches('throw undefined'), 'undefined'],
    [
      'throws what throws',
      fetches('throw { toString() { throw 1 } }'),
      'It threw something that cannot be described.',
    ],
    [
      'throws an error with a trap',
      fetches('const e = new Error(); Object.defineProperty(e, "message", { get() { throw 1 } }); throw e'),
      'It threw something that cannot be described.',
    ],
    ['never answers', fetches('await new Promise(() => undefined)'), 'It ended without an answer.'],
    [
      'answers a response that it has read',
      fetches('const r = new Response("x"); await r.text(); return r'),
      'It ended without an answer.',
    ],
    [
      'leaves its process',
      'import process from "node:process"; export default { fetch() { process.exit(0) } }',
      'It ended without an answer.',
    ],
    [
      'upgrades to a WebSocket',
      fetches('return new Response(null, { status: 101, webSocket: new WebSocketPair()[0] })'),
      'It ended without an answer.',
    ],
    ['answers an impossible status', fetches('return new Response("x", { status: 99 })'), 'RangeError'],
    [
      'recurses without end',
      'const f = () => f() + 1; export default { fetch: () => f() }',
      'RangeError: Maximum call stack size exceeded',
    ],
  ])('one that %s has crashed', async (_, source, message) => {
    await using program = await start(source)
    const { outcome, status } = await call(program)
    expect(outcome).toMatchObject({ kind: 'crashed', message: expect.stringContaining(message) })
    expect(status).toBe(0)
  })

  test.each([
    ['undefined', fetches('')],
    ['a number', fetches('return 5')],
    ['null', fetches('return null')],
    ['an object', fetches('return { status: 200, headers: [] }')],
    ['a string', 'export default { fetch: () => "hello" }'],
  ])('one that answers %s gave no answer', async (what, source) => {
    await using program = await start(source)
    const message = `The program gave no Response, but ${what}.`
    expect((await call(program)).outcome).toEqual({ kind: 'output_invalid', message })
  })

  test.each([
    ['no default export', 'export const fetch = () => new Response()'],
    ['a number as its default export', 'export default 5'],
    ['a default export without fetch', 'export default { scheduled() {} }'],
  ])('one with %s cannot answer', async (_, source) => {
    await using program = await start(source)
    const message = 'The program has no default export with a fetch function.'
    expect((await call(program)).outcome).toEqual({ kind: 'output_invalid', message })
  })

  test('one that says very much when it fails is cut short, on one line', async () => {
    await using program = await start(fetches('throw new Error("a\\n\\x1b[31m" + "ü".repeat(1e6))'))
    const { outcome } = await call(program)
    expect(outcome.kind).toBe('crashed')
    if (outcome.kind !== 'crashed') return
    expect(Buffer.byteLength(outcome.message)).toBeLessThanOrEqual(limits.faultMessageBytesMax)
    expect(outcome.message).toMatch(/^Error: a \[31mü/)
  })

  test('one that forges a fault has answered', async () => {
    const headers = '{ "khachapuri-fault": "0123 crashed x" }'
    await using program = await start(
      fetches(`return new Response("x", { status: 500, headers: ${headers} })`),
    )
    const { outcome, status, body } = await call(program)
    expect({ outcome, status, body: body.toString() }).toEqual({
      outcome: { kind: 'answered' },
      status: 500,
      body: 'x',
    })
  })

  test('one that replaces every global still gets its answers through, and its faults told', async () => {
    await using program = await start(`
      const Original = Response
      for (const name of ['Response', 'Error', 'Promise', 'String', 'encodeURIComponent']) globalThis[name] = undefined
      export default { fetch: (request) => request.url.endsWith('/ok') ? new Original('fine') : 5 }
    `)
    expect((await call(program, { target: '/ok' })).body.toString()).toBe('fine')
    expect((await call(program)).outcome.kind).toBe('output_invalid')
  })

  test('one that breaks its answer off in the middle has crashed, and answers the next call', async () => {
    await using program = await start(`export default {
      fetch(request) {
        if (request.url.endsWith('/ok')) return new Response('fine')
        let n = 0
        return new Response(new ReadableStream({
          pull(controller) {
            if (n++ === 3) throw new Error('ouch')
            controller.enqueue(new Uint8Array(10))
          },
        }))
      },
    }`)
    const broken = await call(program)
    expect(broken.status).toBe(200)
    expect(broken.outcome.kind).toBe('crashed')
    expect((await call(program, { target: '/ok' })).body.toString()).toBe('fine')
  })

  test('one whose promises fail unheard goes on', async () => {
    await using program = await start(
      fetches(
        'Promise.reject(new Error("unheard")); setTimeout(() => { throw new Error("late") }); return new Response("fine")',
      ),
    )
    for (let i = 0; i < 3; i++) expect((await call(program)).body.toString()).toBe('fine')
  })
}

function testWeight(start: Start): void {
  test('one that answers without end weighs less than its neighbour, until it stops', async ({ skip }) => {
    await using neighbour = await start('export default { fetch: () => new Response("fine") }')
    await using program = await start(
      `export default { fetch: () => new Response(new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
      })) }`,
      { limits: { timeoutMs: ampleMs, memoryMiB: 64, responseBytes: 2 ** 40 } },
    )
    const [usual, ...others] = readWeights()
    if (usual === undefined) skip('there are no cgroups')
    expect(new Set(others)).toEqual(new Set([usual]))
    // However busy one is, it has no more of the machine than this.
    expect(new Set(readCores())).toEqual(new Set([limits.programCpuPercentMax / 100]))

    const flood = program.call(request, {
      onHead: () => undefined,
      onData: () => undefined,
      onEnd: () => undefined,
    })
    const lighter = () => readWeights().filter((weight) => weight !== usual)
    while (lighter().length === 0) expect((await call(neighbour)).status).toBe(200)
    const [light, ...no] = lighter()
    expect(light).toBeLessThanOrEqual(Math.round((usual! * limits.programPouringWeightPercent) / 100))
    expect(no).toEqual([])
    flood.abort()
    while (lighter().length > 0) expect((await call(neighbour)).status).toBe(200)
  })
}

function testStarts(start: Start): void {
  test.each([
    ['throws while it loads', 'throw new Error("ouch")', 'Error: ouch (index.js:1:7)'],
    ['is no JavaScript', '<html>', 'SyntaxError'],
    ['imports what is not there', 'import "./missing.js"', 'No such module'],
    ['imports from the host', 'import "file:///etc/passwd"', 'No such module'],
    ['imports from above', 'import "../../../etc/passwd"', 'TypeError'],
  ])('one that %s does not start, and says why', async (_, source, message) => {
    await expect(start(source)).rejects.toMatchObject({
      code: 'program_crashed',
      message: expect.stringContaining(message),
    })
  })

  test('one that loops while it loads is stopped at the deadline', async () => {
    await using hasty = await createRuntime({ zygotes: 0, startTimeoutMs: 500 })
    const options = { env: {}, params: null, limits: { timeoutMs: ampleMs, memoryMiB: 64 } }
    await expect(hasty.start(toProgram('for (;;);'), options, never)).rejects.toMatchObject({
      code: 'program_timeout',
    })
  })

  test('one that fills its memory while it loads is told so', async () => {
    await expect(start('const kept = []; for (;;) kept.push(new Array(1e5).fill(1))')).rejects.toMatchObject({
      code: 'program_out_of_memory',
    })
  })

  test.each([
    ['wasm', Buffer.from('not wasm')],
    ['json', Buffer.from('{{')],
  ])('one with a broken .%s file does not start', async (ending, bytes) => {
    const program = toProgram('export default {}')
    const files = [...program.files, { path: `broken.${ending}`, bytes }]
    await expect(start({ ...program, files })).rejects.toMatchObject({ code: 'program_crashed' })
  })

  test('file names are names, whatever they look like', async () => {
    const names = [
      'a"b\n).txt',
      'é ?#%41.txt',
      '$(id).txt',
      '`x`.txt',
      'main.js',
      'globals.js',
      '__proto__',
      "';.txt",
    ]
    const files = names.map((path) => ({
      path,
      bytes: Buffer.from(path.endsWith('.js') ? 'export {}' : path),
    }))
    const entry = {
      path: 'index.js',
      bytes: Buffer.from(
        `import text from ${JSON.stringify('./a"b\n).txt')}; export default { fetch: () => new Response(text) }`,
      ),
    }
    await using program = await start({ files: [...files, entry], entry: 'index.js' })
    expect((await call(program)).body.toString()).toBe('a"b\n).txt')
  })

  test('an entry whose name is code is imported, not run', async () => {
    const path = `x'; globalThis.pwned = 1; '.js`
    const bytes = Buffer.from('export default { fetch: () => new Response(String(globalThis.pwned)) }')
    await using program = await start({ files: [{ path, bytes }], entry: path })
    expect((await call(program)).body.toString()).toBe('undefined')
  })
}

function testExhaustion(start: Start, clock: JumpingClock): void {
  const healthy = 'export default { fetch: () => new Response("fine") }'

  test('one that loops ends with its time; another is answered meanwhile', async () => {
    await using other = await start(healthy)
    await using program = await start('export default { fetch() { for (;;); } }')
    const looping = call(program)
    for (let calls = 0; calls < 5; calls++) expect((await call(other)).status).toBe(200)
    expect(program.inFlight).toBe(1)
    clock.jump(ampleMs)
    expect((await looping).outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
    expect(await program.whenDead).toEqual({ kind: 'timeout' })
  })

  test.each([
    ['in a microtask', 'async fetch() { for (;;) await null }'],
    ['in a regular expression', 'fetch() { /^(a+)+$/.test("a".repeat(40) + "b"); return new Response() }'],
  ])('one that loops %s ends, too', async (_, method) => {
    await using program = await start(`export default { ${method} }`, {
      limits: { timeoutMs: 200, memoryMiB: 64 },
    })
    await call(program)
    await call(program)
    expect(await program.whenDead).toEqual({ kind: 'timeout' })
  })

  test('a call that only waits is stopped alone', async () => {
    await using program = await start(
      `export default {
        async fetch(request) {
          if (request.url.endsWith('/wait')) await new Promise((resolve) => setTimeout(resolve, 600_000))
          return new Response('fine')
        },
      }`,
    )
    const waiting = call(program, { target: '/wait' })
    expect((await call(program)).body.toString()).toBe('fine')
    clock.jump(ampleMs)
    expect((await waiting).outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
    expect((await call(program)).body.toString()).toBe('fine')
    program.kill({ kind: 'stopped', why: 'of a test' })
    expect(await program.whenDead).toMatchObject({ kind: 'stopped' })
  })

  test('one that goes on working after its answer has the time of a call for that', async () => {
    await using program = await start(
      `export default {
        fetch(request, env, ctx) {
          ctx.waitUntil((async () => { await null; for (;;); })())
          return new Response('fine')
        },
      }`,
      { limits: { timeoutMs: 200, memoryMiB: 64 } },
    )
    await call(program)
    expect(await program.whenDead).toEqual({ kind: 'timeout' })
  })

  test('one that answers a byte at a time ends with its time', async () => {
    await using program = await start(
      `export default { fetch: () => new Response(new ReadableStream({
        async pull(controller) {
          await new Promise((resolve) => setTimeout(resolve, 20))
          controller.enqueue(new Uint8Array(1))
        },
      })) }`,
    )
    for (let turn = 0; turn < 2; turn++) {
      const dripping = drip(program, request)
      await dripping.bytes(3)
      clock.jump(ampleMs)
      expect(await dripping.outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
    }
  })

  test.each([
    ['its heap', 'kept.push(new Array(1e5).fill(i++))'],
    ['buffers', 'kept.push(new Uint8Array(1 << 20).fill(1))'],
    ['files', `fs.writeFileSync('/tmp/' + i++, new Uint8Array(1 << 20).fill(1))`],
    ['strings', 'kept.push("x".repeat(1e6) + i++); kept.at(-1).charCodeAt(5)'],
    [
      'WebAssembly memory',
      'const m = new WebAssembly.Memory({ initial: 160 }); new Uint8Array(m.buffer).fill(1); kept.push(m)',
    ],
  ])('one that fills %s is ended for memory; another goes on', async (_, step) => {
    await using other = await start(healthy)
    await using program = await start(
      `import fs from 'node:fs'; let i = 0; const kept = []; export default { fetch() { for (;;) { ${step} } } }`,
    )
    expect((await call(program)).outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 64 })
    expect(await program.whenDead).toEqual({ kind: 'out_of_memory' })
    expect((await call(other)).status).toBe(200)
  })

  test('one that answers to many at once leaves others room in every turn of the event loop', async () => {
    const chunkBytes = 65_536
    const responseBytes = 64 * chunkBytes
    await using program = await start(
      `export default { fetch: () => new Response(new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(${chunkBytes})),
      })) }`,
      { limits: { timeoutMs: ampleMs, memoryMiB: 64, responseBytes } },
    )
    const turns: number[] = []
    let turnBytes = 0
    const onData = (chunk: Buffer) => {
      if (turnBytes === 0) {
        setImmediate(() => {
          turns.push(turnBytes)
          turnBytes = 0
        })
      }
      turnBytes += chunk.length
    }
    const outcomes = Array.from({ length: 8 }, () => {
      const { promise, resolve } = Promise.withResolvers<unknown>()
      program.call(request, { onHead: () => undefined, onData, onEnd: resolve })
      return promise
    })
    for (const outcome of await Promise.all(outcomes))
      expect(outcome).toMatchObject({ kind: 'output_too_large' })
    expect(turns.length).toBeGreaterThan(10)
    // A turn as it is counted here may hold the beginning of the next.
    expect(Math.max(...turns)).toBeLessThanOrEqual(2 * (limits.programBytesPerTurnMax + chunkBytes))
  })

  test('one that floods its output only slows itself down', async () => {
    let heardBytes = 0
    const heard = Promise.withResolvers<void>()
    const count = (chunk: Buffer) => {
      heardBytes += chunk.length
      heard.resolve()
    }
    await using program = await start(
      'export default { fetch() { for (;;) console.log("x".repeat(10000)) } }',
      { onOutput: count },
    )
    const sinceMs = performance.now()
    const flooding = call(program)
    await heard.promise
    clock.jump(ampleMs)
    expect((await flooding).outcome.kind).toBe('timeout')
    await program.whenDead
    // The jump begins a second of its own.
    const seconds = 2 + Math.ceil((performance.now() - sinceMs) / 1_000)
    expect(heardBytes).toBeLessThan((seconds + 1) * limits.programOutputBytesPerSecondMax)
  })
}

function testReach(start: Start): void {
  test('one that looks for a network finds none, by any door', async () => {
    await using listener = await listen()
    await using program = await start(
      `
      import net from 'node:net'
      import http from 'node:http'
      import dns from 'node:dns'
      import { connect } from 'cloudflare:sockets'
      export default {
        async fetch(request, { params: { port } }) {
          const here = 'http://127.0.0.1:' + port + '/', opened = []
          const attempt = async (what, attack) => { try { await attack(); opened.push(what) } catch {} }
          await attempt('fetch', () => fetch(here))
          await attempt('fetch of itself', () => fetch(request.url))
          await attempt('fetch of a file', () => fetch('file:///etc/passwd'))
          await attempt('cloudflare:sockets', () => connect('127.0.0.1:' + port).opened)
          await attempt('node:net', () => new Promise((resolve, reject) =>
            net.connect(port, '127.0.0.1', resolve).on('error', reject)))
          await attempt('node:http', () => new Promise((resolve, reject) =>
            http.get(here, resolve).on('error', reject)))
          await attempt('node:dns', () => new Promise((resolve, reject) =>
            dns.lookup('localhost.example', (error, address) => error ? reject(error) : resolve(address))))
          return Response.json(opened)
        },
      }`,
      { params: { port: listener.port } },
    )
    expect(JSON.parse((await call(program)).body.toString())).toEqual([])
    expect(listener.connections).toBe(0)
  })

  test('one that looks for the host finds only itself', async () => {
    await using program = await start(
      `
      import fs from 'node:fs'
      import os from 'node:os'
      import process from 'node:process'
      import child from 'node:child_process'
      export default {
        fetch(request, env) {
          const found = []
          const attempt = (what, attack) => { try { attack(); found.push(what) } catch {} }
          for (const path of ['/etc/passwd', '/proc/self/environ', '/run/w', '/root', '/bundle/../../etc/passwd'])
            attempt(path, () => fs.readdirSync(path))
          attempt('/etc/hosts', () => fs.readFileSync('/etc/hosts'))
          attempt('exec', () => child.execSync('id'))
          attempt('eval', () => eval('1'))
          attempt('Function', () => new Function('return 1')())
          return Response.json({ found, env: Object.keys(env), process: Object.keys(process.env), host: os.hostname() })
        },
      }`,
      { env: { MINE: 'x' } },
    )
    const seen = JSON.parse((await call(program)).body.toString())
    expect(seen.found).toEqual([])
    expect(seen.env.sort()).toEqual(['MINE', 'params'])
    expect(seen.process.sort()).toEqual(['MINE', 'params'])
    expect(seen.host).toBe('localhost')
  })

  test.skipIf(process.platform !== 'linux')(
    'its secrets stand in no command line, environment or file',
    async () => {
      const secret = 'correct-horse-battery-staple'
      await using program = await start('export default { fetch: (r, env) => new Response(env.SECRET) }', {
        env: { SECRET: secret },
      })
      expect((await call(program)).body.toString()).toBe(secret)
      expect(processesWith(secret)).toEqual([])
    },
  )

  test('what workerd says about the host is not told as the program’s words', async () => {
    const heard: string[] = []
    await using program = await start(
      'export default { async fetch() { console.error("mine"); await fetch("http://127.0.0.1/").catch(() => 0); return new Response() } }',
      { onOutput: (chunk) => void heard.push(chunk.toString()) },
    )
    await call(program)
    program.kill({ kind: 'stopped', why: 'of a test' })
    await program.whenDead
    expect(heard.join('')).toContain('mine')
    expect(heard.join('')).not.toContain('node_modules')
  })
}

test.skipIf(process.platform !== 'linux')(
  'a process that somebody kills has crashed, and nothing of it stays',
  async () => {
    await using runtime = await createRuntime({ mode: 'auto', zygotes: 0 })
    const options = { env: {}, params: null, limits: { timeoutMs: ampleMs, memoryMiB: 64 } }
    const program = await runtime.start(
      toProgram('export default { fetch: () => new Response() }'),
      options,
      never,
    )
    expect((await call(program)).status).toBe(200)
    const victim = descendants().at(-1)!
    process.kill(victim, 'SIGKILL')
    expect(await program.whenDead).toMatchObject({
      kind: 'crashed',
      message: expect.stringMatching(/137|SIGKILL/),
    })
    expect((await call(program)).outcome.kind).toBe('crashed')
    await program[Symbol.asyncDispose]()
    expect(descendants()).toEqual([])
  },
)

describe('the walls', () => {
  test.skipIf(process.platform !== 'linux')(
    'that are missing are found missing by our own attacks',
    async () => {
      await using sandbox = await createSandbox(
        { log: createTestLog() },
        { mode: 'bare', trialPath: process.execPath },
        never,
      )
      await using runtime = await createRuntime({ mode: 'bare', zygotes: 0 })
      const claiming = { ...sandbox, walls: { ...sandbox.walls, namespaces: true } }
      const breaches = await attackOurselves({ sandbox: claiming, runtime }, never)
      expect(breaches).toContain('A native process in the sandbox could read /etc/passwd.')
      expect(breaches).toContain('A native process in the sandbox could start a process.')
      expect(breaches).toContain('A native process in the sandbox could connect.')
      expect(breaches).toContain('A program reached a port of this machine.')
    },
  )

  test.skipIf(!hasBubblewrap)('hold against our own attacks (needs bubblewrap)', async () => {
    await using runtime = await createRuntime({ mode: 'auto', zygotes: 0 })
    const probe = await runtime.probe(never)
    expect(probe.walls).toMatchObject({ namespaces: true, seccomp: true })
    expect(probe.reasons.filter((reason) => /could|more|beyond|reached/.test(reason))).toEqual([])
    expect(probe.tier).toBe(probe.walls.cgroups ? 'sandbox' : 'process')
  })

  test('are never claimed where there are none', async () => {
    await using runtime = await createRuntime({ mode: 'bare', zygotes: 0 })
    const probe = await runtime.probe(never)
    expect(probe).toMatchObject({ tier: 'process', walls: { namespaces: false, cgroups: false } })
    expect(probe.reasons).toContain('Bubblewrap was left out on request.')
  })
})

const request: UpstreamRequest = { method: 'GET', target: '/', rawHeaders: ['host', 'test'] }

function call(program: Instance, changes: Partial<UpstreamRequest> = {}): Promise<Answer> {
  return collectAnswer(program, { ...request, ...changes })
}

function toProgram(source: string): ProgramFiles {
  return { files: [{ path: 'index.js', bytes: Buffer.from(source) }], entry: 'index.js' }
}

function createRuntime(options: WorkerdOptions, clock: Clock = systemClock): Promise<Runtime> {
  return createJsRuntime({ clock, log: createTestLog() }, options, never)
}

function shareRuntime(
  options: WorkerdOptions,
  clock: Clock,
): AsyncDisposable & { runtime: () => Promise<Runtime> } {
  let made: Promise<Runtime> | undefined
  return {
    runtime() {
      made ??= createRuntime(options, clock)
      return made
    },
    async [Symbol.asyncDispose]() {
      await (await made)?.[Symbol.asyncDispose]()
    },
  }
}

async function listen(): Promise<AsyncDisposable & { readonly port: number; readonly connections: number }> {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections
    },
    [Symbol.asyncDispose]: async () => void server.close(),
  }
}

/** Other processes in whose command line or environment a text stands. */
function processesWith(text: string): string[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
  return pids.filter((pid) =>
    ['cmdline', 'environ'].some((file) => read(`/proc/${pid}/${file}`).includes(text)),
  )
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

function isInstalled(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
