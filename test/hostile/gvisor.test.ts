import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { createNativeRuntime } from '../../provider/runtime/native/native-runtime.ts'
import { canRunNatively, compile } from '../../provider/runtime/native/testing/compile.ts'
import type { Instance, StartOptions } from '../../provider/runtime/runtime.ts'
import { sendCall } from '../support/send-call.ts'
import { answersTo } from '../support/tools.ts'
import { countTraces, countTracesLeft } from '../support/traces.ts'

const never = new AbortController().signal
const canRun = canRunNatively && process.getuid?.() === 0 && answersTo('runsc', '--version')

/** The attacks of native programs in gVisor, whose kernel is its own: what a call does in there, it does to nobody else. */
describe.skipIf(!canRun)('a native program in gVisor, where there is runsc, and root', () => {
  const bytes = canRun ? compile('attacks.c') : new Uint8Array()
  const before = countTraces()
  const making = canRun
    ? createNativeRuntime(
        { clock: systemClock, log: createTestLog() },
        { root: 'none', walls: 'runsc', zygotes: 1 },
        never,
      )
    : undefined
  afterAll(async () => {
    await (await making)?.[Symbol.asyncDispose]()
    expect(await countTracesLeft(before), 'nothing survives').toEqual(before)
  })

  const start = async (
    { native = 'cgi' as 'cgi' | 'http' } = {},
    changes: Partial<StartOptions['limits']> = {},
  ): Promise<Instance> =>
    (await making!).start(
      { files: [{ path: 'attacks', bytes }], entry: 'attacks', native },
      { env: {}, params: null, limits: { memoryMiB: 64, timeoutMs: 20_000, ...changes } },
      never,
    )
  const attack = async (program: Instance, name: string) => {
    const { outcome, body } = await sendCall(program, { target: `/?${name}` })
    return { outcome, lines: body.toString().trim().split('\n') }
  }

  test('has walls that our own attacks find standing', async () => {
    const runtime = await making!
    expect(runtime.overheadMiB).toBe(limits.gvisorMemoryMiB)
    const probe = await runtime.probe(never)
    expect(probe).toMatchObject({ tier: 'sandbox', reasons: [], engine: expect.stringContaining('gVisor') })
  })

  test('answers, with what it was sent', async () => {
    await using program = await start()
    const { outcome, body } = await sendCall(program, {
      method: 'POST',
      target: '/?hello',
      body: Buffer.alloc(200_000),
    })
    expect([outcome, body.toString()]).toEqual([{ kind: 'answered' }, 'hello\n'])
  })

  test('sees no file but its own, and of /proc and /sys those of its own kernel', async () => {
    await using program = await start()
    const { lines } = await attack(program, `files=${import.meta.dirname}`)
    expect(lines).toEqual(['sees /proc/1', 'sees /proc/self/environ', 'sees /sys'])
    expect((await attack(program, 'links')).lines).toEqual(['contained'])
  })

  test('reaches no port and no socket of this machine', async () => {
    let connections = 0
    const decoys = [createServer(() => connections++), createServer(() => connections++)] as const
    const name = `khachapuri-gvisor-${process.pid}`
    await Promise.all([
      once(decoys[0].listen(0), 'listening'),
      once(decoys[1].listen(`\0${name}`), 'listening'),
    ])
    await using program = await start()
    const { port } = decoys[0].address() as AddressInfo
    const { lines } = await attack(program, `network=${port}`)
    expect(lines.filter((line) => line.startsWith('connects'))).toEqual([])
    expect((await attack(program, `abstract=${name}`)).lines).toEqual(['contained'])
    expect(connections).toBe(0)
    for (const decoy of decoys) decoy.close()
  })

  test('ends where it takes too much, and its next call is answered', async () => {
    await using program = await start()
    expect((await attack(program, 'memory')).outcome).toEqual({ kind: 'out_of_memory', memoryMiB: 64 })
    // What a process costs is the memory of gVisor's own kernel, which ends first.
    expect((await attack(program, 'need-processes')).outcome.kind).toMatch(/out_of_(memory|pids)|crashed/)
    expect((await attack(program, 'daemon')).lines).toEqual(['contained'])
    await using hurried = await start({}, { timeoutMs: 500 })
    expect((await attack(hurried, 'drip')).outcome).toEqual({ kind: 'timeout', timeoutMs: 500 })
    expect((await attack(program, 'hello')).lines).toEqual(['hello'])
  })

  test('is no server and has no network, and is told so', async () => {
    await expect(start({ native: 'http' })).rejects.toMatchObject({ code: 'runtime_unavailable' })
    await expect(start({}, { egress: 'public' })).rejects.toMatchObject({ code: 'runtime_unavailable' })
  })
})
