import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../protocol/base/clock.ts'
import { createTestLog } from '../protocol/base/log.ts'
import { collectAnswer } from '../provider/runtime/collect-answer.ts'
import { openRuntimes } from '../provider/runtime/open-runtimes.ts'
import type { ProgramFiles, Runtime } from '../provider/runtime/runtime.ts'
import type { BenchContext, Measurement } from './measurement.ts'
import { median, quantile } from './median.ts'

/** From nothing to the first answer of a program whose bytes are at hand, and what it holds then. */
export const programStart: Measurement = {
  name: 'program-start',
  title: 'Start of a program',
  async run({ rounds }: BenchContext, signal: AbortSignal) {
    const programs = await readPrograms()
    const found = new Map(
      ways.map(({ name }) => [name, { timesMs: [] as number[], memoryMiB: [] as number[] }]),
    )
    for (let round = 0; round < rounds; round += 1) {
      for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
        const { timesMs, memoryMiB } = await measure(way, programs[way.kind], signal)
        found.get(way.name)?.timesMs.push(...timesMs)
        found.get(way.name)?.memoryMiB.push(...memoryMiB)
      }
    }
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'starts', 'p50 ms', 'p90 ms', 'p99 ms', 'MiB after one answer'],
          rows: ways.map(({ name }) => {
            const { timesMs = [], memoryMiB = [] } = found.get(name) ?? {}
            const memory = memoryMiB.length === 0 ? undefined : median(memoryMiB)
            return [
              name,
              timesMs.length,
              median(timesMs),
              quantile(timesMs, 0.9),
              quantile(timesMs, 0.99),
              memory,
            ]
          }),
        },
      ],
      remarks: [
        '“From the pool” takes a sandboxed workerd that waits for a program; the next one is started meanwhile, and not counted.',
        'Memory is what the program’s own cgroup counts, where there are cgroups; workerd’s code is shared by all.',
      ],
    }
  },
}

interface Way {
  readonly name: string
  readonly kind: 'js' | 'wasm'
  readonly zygotes: number
}

const ways: readonly Way[] = [
  { name: 'js, from the pool', kind: 'js', zygotes: 2 },
  { name: 'js, without a pool', kind: 'js', zygotes: 0 },
  { name: 'wasm, from the pool', kind: 'wasm', zygotes: 2 },
  { name: 'wasm, without a pool', kind: 'wasm', zygotes: 0 },
]

const startsPerRound = 8
/** Long enough for a waiting process to take the place of the one that was taken. */
const pauseMs = 350

async function readPrograms(): Promise<Record<Way['kind'], ProgramFiles>> {
  const js = await readFile(join(import.meta.dirname, 'programs', 'hello', 'src', 'index.js'))
  const wasm = await readFile(
    join(import.meta.dirname, '..', 'provider', 'runtime', 'wasm', 'testing', 'compliance.wasm'),
  )
  return {
    js: { files: [{ path: 'index.js', bytes: js }], entry: 'index.js' },
    wasm: { files: [{ path: 'echo.wasm', bytes: wasm }], entry: 'echo.wasm' },
  }
}

async function measure({ kind, zygotes }: Way, program: ProgramFiles, signal: AbortSignal) {
  await using opened = await openRuntimes({ clock: systemClock, log: createTestLog() }, { zygotes }, signal)
  const runtime = opened.runtimes.find((one) => one.kind === kind) as Runtime
  const timesMs: number[] = []
  const memoryMiB: number[] = []
  for (let index = 0; index < startsPerRound; index += 1) {
    await systemClock.sleep(pauseMs, signal)
    const startedMs = performance.now()
    const options = { env: {}, params: null, limits: { timeoutMs: 5_000, memoryMiB: 64 } }
    await using instance = await runtime.start(program, options, signal)
    await collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] })
    timesMs.push(performance.now() - startedMs)
    const { memoryBytes } = instance.usage()
    if (memoryBytes !== undefined) memoryMiB.push(memoryBytes / 2 ** 20)
  }
  return { timesMs, memoryMiB }
}
