import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { formatLargeSource, writeProgram } from './large-program.ts'
import type { RunningProvider } from './market.ts'
import type { BenchContext, Measurement } from './measurement.ts'
import { quantile } from './median.ts'
import { startBareWorkerd } from './peers.ts'

/** The first call of a program of 1 MiB, beside what workerd alone takes to start with the same module. */
export const coldCall: Measurement = {
  name: 'cold-call',
  title: 'Cold first call of a 1 MiB program',
  async run(context, signal) {
    const { rounds, note } = context
    const market = await context.market()
    // Deployed to a provider that is away, which cannot have looked at any of it when it is first called. A first
    // program warms the provider's own code up and does not count.
    const away = await market.startProvider('carol')
    await away[Symbol.asyncDispose]()
    const programs: Program[] = []
    for (let seed = 0; seed <= rounds; seed += 1) {
      const programDir = join(context.dir, 'large', `${seed}`)
      const source = formatLargeSource(seed)
      await writeProgram(programDir, source)
      const cid = await market.deploy({ programDir, providers: ['carol'] }, signal)
      programs.push({ cid, source })
      note(`deployed ${seed + 1} of ${rounds + 1}`)
    }

    const samples = {
      keeper: [] as number[],
      local: [] as number[],
      warm: [] as number[],
      workerd: [] as number[],
    }
    for (const place of ['keeper', 'local'] as const) {
      note(`first calls, bytes from ${place === 'keeper' ? 'the keeper' : 'the own disk'}`)
      await using carol = await market.startProvider('carol')
      for (const [index, program] of programs.entries()) {
        const durationMs = await callProvider(context, carol, program, signal)
        const warmMs = await callProvider(context, carol, program, signal)
        const workerdMs = await startWorkerd(context, program, signal)
        if (index === 0) continue
        samples[place].push(durationMs)
        samples.warm.push(warmMs)
        samples.workerd.push(workerdMs)
      }
    }
    const row = (name: string, values: readonly number[]) => [
      name,
      quantile(values, 0.5),
      quantile(values, 0.5) / quantile(samples.workerd, 0.5),
      Math.min(...values),
      Math.max(...values),
    ]
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'median ms', '× bare workerd', 'least', 'most'],
          rows: [
            row('fetched from the keeper, verified, opened, unpacked, started', samples.keeper),
            row('the same with the bytes on the own disk', samples.local),
            row('bare workerd: process started, first answer', samples.workerd),
            row('the second call, over a new connection', samples.warm),
          ],
        },
      ],
      remarks: [
        `${rounds} programs, each called for the first time; the provider's process is new, too, but has run one other program.`,
      ],
    }
  },
}

interface Program {
  readonly cid: string
  readonly source: string
}

/** Long enough for a process to be waiting for the next program again, as it is where calls do not follow at once. */
const restMs = 300

async function callProvider(
  { load }: BenchContext,
  { server }: RunningProvider,
  { cid }: Program,
  signal: AbortSignal,
): Promise<number> {
  await setTimeout(restMs, undefined, { signal })
  return load.callOnce({ url: `${server}/${cid}/` })
}

async function startWorkerd(
  { load, dir }: BenchContext,
  { source }: Program,
  signal: AbortSignal,
): Promise<number> {
  const workerdDir = join(dir, 'large-workerd')
  await mkdir(workerdDir, { recursive: true })
  await setTimeout(restMs, undefined, { signal })
  const startedMs = performance.now()
  await using workerd = await startBareWorkerd({ dir: workerdDir, source }, signal)
  await load.callOnce(workerd.target)
  return performance.now() - startedMs
}
