import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { recordHeaders } from '../../../protocol/call.ts'
import { collectAnswer } from '../collect-answer.ts'
import type { ProgramFiles, Runtime } from '../runtime.ts'
import { createWasmRuntime } from './wasm-runtime.ts'

const signal = new AbortController().signal
const testing = join(import.meta.dirname, 'testing')
let runtime: Runtime
beforeAll(async () => {
  runtime = await createWasmRuntime({ clock: systemClock, log: createTestLog() }, { zygotes: 0 }, signal)
})
afterAll(() => runtime[Symbol.asyncDispose]())

async function readProgram(): Promise<ProgramFiles> {
  const text = (path: string, content: string) => ({ path, bytes: Buffer.from(content) })
  return {
    files: [
      { path: 'probe.wasm', bytes: await readFile(join(testing, 'probe.wasm')) },
      text('data/hello.txt', 'hello from the zip\nabc'),
      text('data/deep/er.txt', ''),
      text('readme.md', '#'),
      text('evil.js', 'this is no JavaScript, and nobody asks'),
    ],
    entry: 'probe.wasm',
  }
}

interface Call {
  readonly target?: string
  readonly headers?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Asks a program that was started for this call alone. */
async function probe({ target = '/', headers = [], env = {} }: Call = {}): Promise<string> {
  const settings = { env, params: null, limits: { timeoutMs: 10_000, memoryMiB: 32 } }
  await using program = await runtime.start(await readProgram(), settings, signal)
  const answer = await collectAnswer(program, {
    method: 'GET',
    target,
    rawHeaders: ['host', 'test', ...headers],
  })
  expect(answer).toMatchObject({ status: 200, outcome: { kind: 'answered' } })
  return answer.body.toString()
}

const record = (seed: string, startedMs: number) => [
  recordHeaders.seed,
  seed,
  recordHeaders.started,
  String(startedMs),
]

describe('a WASI program', () => {
  test('reads the files of its zip, cannot write, and sees no others', async () => {
    const seen = await probe()
    expect(seen.split('\n').slice(0, 11)).toEqual([
      'list /: data/ evil.js readme.md',
      'list /data: deep/ hello.txt',
      'list /none: No such file or directory',
      'read /data/hello.txt: 22 of 22 bytes, "hello from the zip", ending in "abc"',
      'read /data/../data/hello.txt: 22 of 22 bytes, "hello from the zip", ending in "abc"',
      'read /../../etc/passwd: No such file or directory',
      'read /etc/passwd: No such file or directory',
      'write /data/hello.txt: Bad file descriptor',
      'write /new.txt: Read-only file system',
      'mkdir: Read-only file system',
      'unlink: Read-only file system',
    ])
  })

  test('gives the same bytes for the same call and input, in whatever process and at whatever time', async () => {
    const first = await probe({ headers: record('a', 1_700_000_000_000) })
    expect(await probe({ headers: record('a', 1_700_000_000_000) })).toBe(first)
    expect(first).toContain('time: 1700000000, and an hour later 1700003600\n')
    const another = await probe({ headers: record('b', 1_700_000_000_000) })
    const randomOf = (text: string) => /random: ([0-9a-f]{80})\n/.exec(text)?.[1]
    expect(randomOf(first)).toBeDefined()
    expect(randomOf(another)).toBeDefined()
    expect(randomOf(another)).not.toBe(randomOf(first))
  })

  test('has its request and its secrets as environment, and nothing that could mislead it', async () => {
    const seen = await probe({
      target: '/a%20b/%FF?q=1&r=%20',
      headers: ['proxy', 'http://evil', 'x_a', 'false', 'x-a', 'true'],
      env: { SECRET: 'told', HTTP_X_A: 'secret', PATH: '/usr/bin' },
    })
    expect(seen.split('\n').slice(-8, -1)).toEqual([
      'SECRET: told',
      'HTTP_PROXY: (none)',
      'HTTP_X_A: true',
      // One that is no UTF-8 stays as it came.
      'PATH_INFO: /a%20b/%FF',
      'QUERY_STRING: q=1&r=%20',
      'CONTENT_LENGTH: (none)',
      'PATH: /usr/bin',
    ])
  })

  test.each<[string, string, string | undefined]>([
    ['no WebAssembly', 'readme.md', undefined],
    ['not there', 'none.wasm', undefined],
  ])('whose entry is %s is refused', async (_what, entry) => {
    const settings = { env: {}, params: null, limits: { timeoutMs: 1_000, memoryMiB: 32 } }
    const starting = runtime.start({ ...(await readProgram()), entry }, settings, signal)
    await expect(starting).rejects.toMatchObject({ code: 'program_invalid' })
  })
})

const hasGo = await promisify(execFile)('go', ['version']).then(
  () => true,
  () => false,
)

test.skipIf(!hasGo)('a program that Go makes (GOOS=wasip1), where there is Go, is one, too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'khachapuri-go-'))
  try {
    const path = join(folder, 'app.wasm')
    const env = { ...process.env, GOOS: 'wasip1', GOARCH: 'wasm', GOTOOLCHAIN: 'local', GOWORK: 'off' }
    await promisify(execFile)('go', ['build', '-o', path, '.'], { cwd: join(testing, 'go'), env })
    const files = [
      { path: 'app.wasm', bytes: await readFile(path) },
      { path: 'data/hello.txt', bytes: Buffer.from('from the zip') },
    ]
    const answers = []
    for (const seed of ['a', 'a', 'b']) {
      await using program = await runtime.start(
        { files, entry: 'app.wasm' },
        { env: {}, params: null, limits: { timeoutMs: 60_000, memoryMiB: 128 } },
        signal,
      )
      const { outcome, body } = await collectAnswer(program, {
        method: 'POST',
        target: '/',
        rawHeaders: ['host', 'test', ...record(seed, 1_700_000_000_000)],
        body: Buffer.from('from the caller'),
      })
      expect(outcome).toEqual({ kind: 'answered' })
      answers.push(body.toString())
    }
    const [first, again, other] = answers
    expect(first).toMatch(/^POST from the caller from the zip 17000000000\d\d [0-9a-z]+\n$/)
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

/** Another version makes other bytes. */
const hasClang14 = await promisify(execFile)('clang', ['--version']).then(
  ({ stdout }) => stdout.includes('clang version 14.'),
  () => false,
)

test.skipIf(!hasClang14)(
  'the modules here are what clang makes of their sources (skipped where there is no clang 14)',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'khachapuri-wasm-'))
    try {
      await promisify(execFile)(join(testing, 'build.sh'), [folder])
      const sources = (await readdir(testing)).filter((name) => name.endsWith('.c'))
      expect(sources.length).toBeGreaterThan(1)
      for (const name of sources.map((source) => source.replace(/\.c$/, '.wasm')))
        expect((await readFile(join(folder, name))).equals(await readFile(join(testing, name)))).toBe(true)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
)
