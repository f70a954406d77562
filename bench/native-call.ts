import { systemClock } from '../protocol/base/clock.ts'
import { createTestLog } from '../protocol/base/log.ts'
import type { NativeMode } from '../protocol/program.ts'
import { collectAnswer } from '../provider/runtime/collect-answer.ts'
import { createNativeRuntime } from '../provider/runtime/native/native-runtime.ts'
import { canRunNatively, compile } from '../provider/runtime/native/testing/compile.ts'
import type { Instance } from '../provider/runtime/runtime.ts'
import type { BenchContext, Measurement } from './measurement.ts'
import { median, quantile } from './median.ts'

/** What a call of a native program costs behind its walls: no network, no payment, one call at a time. */
export const nativeCall: Measurement = {
  name: 'native-call',
  title: 'Native program behind its walls',
  async run({ rounds }: BenchContext, signal: AbortSignal) {
    if (!canRunNatively) return { tables: [], remarks: ['There is no C compiler or no bubblewrap here.'] }
    const bytes = compile('compliance.c')
    const timesMs = new Map(ways.map(({ name }) => [name, [] as number[]]))
    for (let round = 0; round < rounds; round += 1) {
      for (const way of round % 2 === 0 ? ways : ways.toReversed())
        timesMs.get(way.name)?.push(...(await measure(way, bytes, signal)))
    }
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'calls', 'p50 ms', 'p90 ms', 'p99 ms'],
          rows: ways.map(({ name }) => {
            const found = timesMs.get(name) ?? []
            return [name, found.length, median(found), quantile(found, 0.9), quantile(found, 0.99)]
          }),
        },
      ],
      remarks: [
        'A static C program answers a GET. A sandbox that waits is replaced between two calls, which is not counted.',
      ],
    }
  },
}

interface Way {
  readonly name: string
  readonly native: NativeMode
  /** Sandboxes that are started in advance. */
  readonly zygotes: number
  readonly calls: number
}

const ways: readonly Way[] = [
  { name: 'CGI, a sandbox waits', native: 'cgi', zygotes: 1, calls: 50 },
  { name: 'CGI, a sandbox is started', native: 'cgi', zygotes: 0, calls: 50 },
  { name: 'server, warm', native: 'http', zygotes: 0, calls: 500 },
]

async function measure(
  { native, zygotes, calls }: Way,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<number[]> {
  const deps = { clock: systemClock, log: createTestLog() }
  await using runtime = await createNativeRuntime(deps, { root: 'none', zygotes }, signal)
  const program = { files: [{ path: 'echo', bytes }], entry: 'echo', native }
  const limits = { timeoutMs: 5_000, memoryMiB: 64 }
  await using instance = await runtime.start(program, { env: {}, params: null, limits }, signal)
  const timesMs: number[] = []
  for (let index = 0; index < calls; index += 1) {
    // The processor is left to what is started in advance, as it is between two calls of anybody.
    if (native === 'cgi') await systemClock.sleep(pauseMs, signal)
    timesMs.push(await callOnce(instance))
  }
  return timesMs
}

const pauseMs = 30

async function callOnce(instance: Instance): Promise<number> {
  const startedMs = performance.now()
  await collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] })
  return performance.now() - startedMs
}
