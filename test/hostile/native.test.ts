import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import type { NativeMode } from '../../protocol/program.ts'
import { type Answer, collectAnswer } from '../../provider/runtime/collect-answer.ts'
import { createNativeRuntime } from '../../provider/runtime/native/native-runtime.ts'
import { canRunNatively, compile } from '../../provider/runtime/native/testing/compile.ts'
import { type CallOutcome, type Instance, type Runtime, toCallError } from '../../provider/runtime/runtime.ts'
import { createJumpingClock } from '../support/clock.ts'
import { drip } from '../support/drip.ts'
import {
  countTraces,
  countTracesLeft,
  descendants,
  ownFolders,
  ownProcesses,
  readText,
} from '../support/traces.ts'

/** Native programs that attack what they run in. Each is held by limits of the kernel before it does anything. */
describe.skipIf(!canRunNatively)(
  'a hostile native program, where there is a C compiler and bubblewrap',
  () => {
    const bytes = canRunNatively ? compile('attacks.c') : new Uint8Array()
    const before = countTraces()
    const clock = createJumpingClock()
    const making = canRunNatively ? createRuntime({ clock }) : undefined
    afterAll(async () => {
      await (await making)?.[Symbol.asyncDispose]()
      expect(await countTracesLeft(before), 'nothing survives').toEqual(before)
    })

    async function start(options: Settings = {}): Promise<Instance> {
      const { env = {}, native = 'cgi', memoryMiB = 64, timeoutMs = ampleMs, cpuMs, onOutput } = options
      const files = [
        { path: 'attacks', bytes },
        { path: 'own.txt', bytes: Buffer.from('own') },
      ]
      return (await making!).start(
        { files, entry: 'attacks', native },
        { env, params: null, limits: { memoryMiB, timeoutMs, cpuMs }, ...(onOutput && { onOutput }) },
        never,
      )
    }

    test('what a self-test of the walls can try, they hold', async () => {
      expect(await (await making!).probe(never)).toMatchObject({ tier: 'sandbox', reasons: [] })
    })

    describe('reaches', () => {
      test('no file of the host, of the provider or of another program', async () => {
        await using other = await start()
        await using program = await start()
        expect(textOf(await attack(other, 'hello'))).toBe('hello\n')
        expect(appFolders().length).toBeGreaterThanOrEqual(2)
        for (const path of [...appFolders(), import.meta.dirname, '/app/../app/../etc/shadow'])
          expect(textOf(await attack(program, `files=${path}`))).toBe('contained\n')
      })

      test('nothing through links and devices', async () => {
        await using program = await start()
        expect(textOf(await attack(program, 'links'))).toBe('contained\n')
      })

      test('no process but its own', async () => {
        await using program = await start()
        expect(textOf(await attack(program, `signals=${process.pid}`))).toBe('contained\n')
        expect(textOf(await attack(program, 'kill-all'))).toBe('contained\n')
        expect(textOf(await attack(program, 'hello'))).toBe('hello\n')
      })

      test('no system call that leads out', async () => {
        await using program = await start()
        expect(textOf(await attack(program, 'calls'))).toBe('contained\n')
      })

      test('no network, this machine least of all', async () => {
        await using decoy = await openDecoy(0)
        await using program = await start()
        const { port } = decoy.server.address() as AddressInfo
        expect(textOf(await attack(program, `network=${port}`))).toBe('contained\n')
        expect(decoy.connections()).toBe(0)
      })

      test('no socket of the host that has a name and no file', async () => {
        const name = `khachapuri-${process.pid}`
        await using decoy = await openDecoy(`\0${name}`)
        await using program = await start()
        expect(textOf(await attack(program, `abstract=${name}`))).toBe('contained\n')
        expect(decoy.connections()).toBe(0)
      })

      test('no call but its own, with one answer too many', async () => {
        await using program = await start({ env: { SERVER: 'smuggle' }, native: 'http' })
        for (let calls = 0; calls < 4; calls++) expect(textOf(await attack(program, 'any'))).toBe('own')
      })

      test('no socket of the host through a link in the place of its own', async () => {
        const folder = mkdtempSync(join(tmpdir(), 'khachapuri-decoy-'))
        chmodSync(folder, 0o755)
        try {
          const target = join(folder, 's')
          await using decoy = await openDecoy(target)
          chmodSync(target, 0o777)
          const server = { native: 'http', env: { SERVER: 'swap', TARGET: target } } as const
          await using program = await start(server)
          expect(textOf(await attack(program, 'first'))).toBe('own')
          expect(textOf(await attack(program, 'second'))).toBe('own')
          await using patient = await createRuntime({ startTimeoutMs: 300 })
          const linking = patient.start(
            { files: [{ path: 'attacks', bytes }], entry: 'attacks', native: 'http' },
            {
              env: { SERVER: 'link', TARGET: target },
              params: null,
              limits: { memoryMiB: 64, timeoutMs: 1_000 },
            },
            never,
          )
          await expect(linking).rejects.toMatchObject({ code: 'program_timeout' })
          expect(decoy.connections()).toBe(0)
        } finally {
          rmSync(folder, { recursive: true })
        }
      })
    })

    describe('uses up', () => {
      test.each(['fork-bomb', 'thread-bomb'])('no more processes than it may: %s', async (name) => {
        await using program = await start()
        const [, count] = /(?:forked|started) (\d+)\n/.exec(textOf(await attack(program, name))) ?? []
        expect(Number(count)).toBeGreaterThan(10)
        expect(Number(count)).toBeLessThan(limits.programPidsMax)
      })

      test('no more processes than it may, which is told apart where it fails for that', async () => {
        await using program = await start()
        const { outcome } = await attack(program, 'need-processes')
        expect(outcome).toEqual({ kind: 'out_of_pids', pidsMax: limits.programPidsMax })
        expect(toCallError(outcome as Exclude<CallOutcome, { kind: 'answered' }>).code).toBe(
          'program_out_of_pids',
        )
        expect(textOf(await attack(program, 'hello'))).toBe('hello\n')
      })

      test('no more time than it has, however it forks, and its neighbour answers meanwhile', async () => {
        await using neighbour = await start()
        await using program = await start()
        const bombing = attack(program, 'restless-bomb')
        for (let calls = 0; calls < 5; calls++)
          expect(textOf(await attack(neighbour, 'hello'))).toBe('hello\n')
        clock.jump(ampleMs)
        expect((await bombing).outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
        expect(textOf(await attack(program, 'hello'))).toBe('hello\n')
      })

      test('no more processor time than it may, in however many processes', async () => {
        await using program = await start({ cpuMs: 200 })
        expect((await attack(program, 'restless-bomb')).outcome).toEqual({ kind: 'out_of_cpu', cpuMs: 200 })
      })

      test('no more time than it has, a byte at a time', async () => {
        await using program = await start()
        const dripping = drip(program, { method: 'GET', target: '/?drip', rawHeaders: ['host', 'test'] })
        await dripping.bytes(3)
        clock.jump(ampleMs)
        expect(await dripping.outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
      })

      test('no more time than it has to begin, with a port that takes nobody', async () => {
        await using patient = await createRuntime({ startTimeoutMs: 300 })
        const starting = patient.start(
          { files: [{ path: 'attacks', bytes }], entry: 'attacks', native: 'http' },
          { env: { SERVER: 'full' }, params: null, limits: { memoryMiB: 64, timeoutMs: 1_000 } },
          never,
        )
        await expect(starting).rejects.toMatchObject({ code: 'program_timeout' })
      })

      test('no more memory than it may', async () => {
        await using program = await start({ memoryMiB: 48 })
        expect((await attack(program, 'memory')).outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 48 })
        expect((await attack(program, 'recursion')).outcome).toMatchObject({
          kind: 'crashed',
          message: expect.stringContaining('signal 11'),
        })
      })

      test('no more disk than its /tmp, and that only in memory', async () => {
        await using program = await start({ memoryMiB: 128 })
        const written = textOf(await attack(program, 'disk'))
        expect(written).toBe(`/tmp ${limits.nativeTmpBytesMax / 1024}\n/run/w 16\n`)
        await using small = await start({ memoryMiB: 32 })
        expect((await attack(small, 'disk')).outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 32 })
      })

      test('no more inodes than fit its memory', async () => {
        await using program = await start({ memoryMiB: 32 })
        expect((await attack(program, 'inodes')).outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 32 })
      })

      test('no line and no memory of ours with a GiB of output', async () => {
        let printedBytes = 0
        const printed = Promise.withResolvers<void>()
        const onOutput = (chunk: Buffer) => {
          printedBytes += chunk.length
          printed.resolve()
        }
        await using program = await start({ onOutput })
        const { outcome } = await attack(program, 'stdout')
        expect(outcome).toEqual({ kind: 'output_too_large', bytesMax: limits.responseBodyBytesMax })
        const sinceMs = performance.now()
        const flooding = attack(program, 'stderr')
        await printed.promise
        clock.jump(ampleMs)
        expect((await flooding).outcome).toEqual({ kind: 'timeout', timeoutMs: ampleMs })
        // The jump begins a second of its own.
        const seconds = 2 + Math.ceil((performance.now() - sinceMs) / 1_000)
        expect(printedBytes).toBeLessThan((seconds + 1) * limits.programOutputBytesPerSecondMax)
      })
    })

    describe('leaves', () => {
      test.each(['daemon', 'linger'])('no child behind: %s', async (name) => {
        await using program = await start()
        expect(textOf(await attack(program, name))).toBe('contained\n')
        await program[Symbol.asyncDispose]()
        expect(ownProcesses().filter((line) => line.includes(' /app/'))).toEqual([])
      })

      test('nothing of a start that was given up', async () => {
        for (let turns = 0; turns < 40; turns++) {
          await using program = await start()
          const leaving = program.call(
            { method: 'GET', target: '/?hello', rawHeaders: ['host', 'test'] },
            { onHead: () => undefined, onData: () => undefined, onEnd: () => undefined },
          )
          for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
          leaving.abort()
        }
        expect(ownProcesses()).toEqual([])
      })

      test('no core dump behind', async () => {
        const before = readdirSync('.')
        await using program = await start()
        expect((await attack(program, 'core')).outcome).toMatchObject({ kind: 'crashed' })
        expect(readdirSync('.')).toEqual(before)
        await using _server = await start({ env: { SERVER: 'gentle' }, native: 'http' })
        const own = descendants().filter((pid) => readText(`/proc/${pid}/cmdline`) === '/app/attacks\0')
        const [processLimits] = own.map((pid) => readText(`/proc/${pid}/limits`))
        expect(processLimits).toMatch(/^Max core file size +0 +0 /m)
      })

      test('no hold on the terminal of its provider: its session is its own', async () => {
        await using _server = await start({ env: { SERVER: 'gentle' }, native: 'http' })
        const own = descendants().filter((pid) => readText(`/proc/${pid}/cmdline`) === '/app/attacks\0')
        expect(own.length).toBeGreaterThan(0)
        for (const pid of own) expect(sessionOf(pid)).not.toBe(sessionOf(process.pid))
      })

      test('no secret in a command line, a file or an environment that is not its own', async () => {
        const secret = 'a-secret-of-this-very-test'
        await using program = await start({ env: { SECRET: secret, SERVER: 'swap' }, native: 'http' })
        const seen = descendants().map(
          (pid) => [readText(`/proc/${pid}/cmdline`), readText(`/proc/${pid}/environ`)] as const,
        )
        expect(seen.length).toBeGreaterThan(1)
        for (const [commandLine] of seen) expect(commandLine).not.toContain(secret)
        const holders = seen.filter(([, environment]) => environment.includes(secret))
        expect(holders.map(([commandLine]) => commandLine)).toEqual(['/app/attacks\0'])
        for (const path of filesBelow(ownFolders()))
          expect(readFileSync(path, 'latin1'), path).not.toContain(secret)
        expect(program.isAlive).toBe(true)
      })
    })

    test('callers of a server that lets few wait have their turn all the same', async () => {
      await using program = await start({ env: { SERVER: 'one-by-one' }, native: 'http' })
      const answers = await Promise.all(Array.from({ length: 24 }, () => attack(program, 'any')))
      for (const answer of answers) expect(textOf(answer)).toBe('own')
    })

    test.each(['gentle', 'gentle-port'])('a server is asked before it is ended: %s', async (SERVER) => {
      let printed = ''
      const onOutput = (chunk: Buffer) => {
        printed += chunk
      }
      const program = await start({ env: { SERVER }, native: 'http', onOutput })
      program.kill({ kind: 'stopped', why: 'of a test' })
      expect(await program.whenDead).toEqual({ kind: 'stopped', why: 'of a test' })
      expect(printed).toBe('asked to stop\n')
    })
  },
)

const never = new AbortController().signal
/** For programs that should answer, or break another limit, on the slowest machine. */
const ampleMs = 60_000

interface Settings {
  readonly env?: Readonly<Record<string, string>>
  readonly native?: NativeMode
  readonly memoryMiB?: number
  readonly timeoutMs?: number
  readonly cpuMs?: number
  readonly onOutput?: (chunk: Buffer) => void
}

function createRuntime({
  clock = systemClock,
  ...options
}: {
  clock?: Clock
  startTimeoutMs?: number
} = {}): Promise<Runtime> {
  return createNativeRuntime(
    { clock, log: createTestLog() },
    { root: 'none', zygotes: 1, startTimeoutMs: ampleMs, ...options },
    never,
  )
}

function attack(instance: Instance, query: string): Promise<Answer> {
  return collectAnswer(instance, { method: 'GET', target: `/?${query}`, rawHeaders: ['host', 'test'] })
}

function textOf({ outcome, body }: Answer): string {
  expect(outcome).toEqual({ kind: 'answered' })
  return body.toString()
}

/** The fourth field after the name, which may hold anything. */
const sessionOf = (pid: number) =>
  readText(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ')[3]

const appFolders = () =>
  ownFolders().flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.startsWith('a'))
      .map((name) => join(folder, name)),
  )

function filesBelow(folders: readonly string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  )
}

/** A server of the host that no program should reach. */
async function openDecoy(
  where: number | string,
): Promise<AsyncDisposable & { server: Server; connections: () => number }> {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndecoy')
  })
  server.listen(where as never)
  await once(server, 'listening')
  return {
    server,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.close()
      await once(server, 'close')
    },
  }
}
