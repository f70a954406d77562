import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../protocol/base/clock.ts'
import { createTestLog } from '../protocol/base/log.ts'
import { isProtocolError } from '../protocol/errors.ts'
import { collectAnswer } from '../provider/runtime/collect-answer.ts'
import { createInstances } from '../provider/runtime/instances.ts'
import { openRuntimes } from '../provider/runtime/open-runtimes.ts'
import type { Instance, Runtime } from '../provider/runtime/runtime.ts'
import type { BenchContext, Measurement } from './measurement.ts'
import { median, quantile } from './median.ts'

/** What a program notices of another one that takes all it can get. */
export const neighbours: Measurement = {
  name: 'neighbours',
  title: 'A program beside one that misbehaves',
  async run({ rounds, seconds }: BenchContext, signal: AbortSignal) {
    await using opened = await openRuntimes(
      { clock: systemClock, log: createTestLog() },
      { zygotes: 2 },
      signal,
    )
    const runtime = opened.runtimes.find(({ kind }) => kind === 'js') as Runtime
    const hello = await readFile(join(import.meta.dirname, 'programs', 'hello', 'src', 'index.js'), 'utf8')
    const names = Object.keys(attackers) as (keyof typeof attackers)[]
    const found = new Map(names.map((name) => [name, [] as number[]]))
    await using victim = await runtime.start(program(hello), options, signal)
    for (let round = 0; round < rounds; round += 1) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const stopping = new AbortController()
        const attack = keepAttacking(runtime, attackers[name], AbortSignal.any([signal, stopping.signal]))
        found.get(name)?.push(...(await callFor(victim, seconds, signal)))
        stopping.abort()
        await attack
      }
    }
    const [p50Alone, p99Alone] = [0.5, 0.99].map((at) => quantile(found.get('nobody') ?? [], at))
    return {
      tables: [
        {
          caption: '',
          columns: ['beside it', 'calls', 'p50 ms', '× alone', 'p99 ms', '× alone'],
          rows: names.map((name) => {
            const timesMs = found.get(name) ?? []
            const [p50, p99] = [median(timesMs), quantile(timesMs, 0.99)]
            return [name, timesMs.length, p50, p50 / (p50Alone ?? 1), p99, p99 / (p99Alone ?? 1)]
          }),
        },
      ],
      remarks: [
        'One call after the other to a hello program, while another program is called again as soon as it has been ended.',
        `Who calls it while it rests comes back after ${refusedPauseMs} ms each time. Each round begins with no death on record.`,
      ],
    }
  },
}

interface Attacker {
  /** Of a program, which is called without a pause; nobody by default. */
  readonly source?: string
  /** How long it rests at most when it has died again and again; as long as with any provider by default. */
  readonly restMsMax?: number
}

const hungry = `const kept = []
  export default { fetch() { for (;;) kept.push(new Uint8Array(1 << 20).fill(1)) } }`

const attackers = {
  nobody: {},
  'one that loops': { source: 'export default { fetch() { for (;;); } }' },
  'one that fills its memory': { source: hungry },
  'the same, started again at once': { source: hungry, restMsMax: 0 },
  'one that floods its log': {
    source: `const line = 'x'.repeat(1000)
      export default { fetch() { for (;;) console.log(line) } }`,
  },
  'one that answers without end': {
    source: `export default {
      fetch: () => new Response(new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(65536)) })),
    }`,
  },
} as const satisfies Readonly<Record<string, Attacker>>

const program = (source: string) => ({
  files: [{ path: 'index.js', bytes: Buffer.from(source) }],
  entry: 'index.js',
})
const options = { env: {}, params: null, limits: { timeoutMs: 1_000, memoryMiB: 64 } }

/** Has a provider's programs run one that is called again as soon as it has been ended, from nothing each time. */
async function keepAttacking(runtime: Runtime, attacker: Attacker, signal: AbortSignal): Promise<void> {
  const { source, restMsMax } = attacker
  if (source === undefined) return
  await using instances = createInstances(
    { clock: systemClock, log: createTestLog() },
    { runtimes: [runtime], ...(restMsMax !== undefined && { restMsMax: () => restMsMax }) },
  )
  const end = () => instances.endAll('the round is over')
  signal.addEventListener('abort', end, { once: true })
  const load = async () => ({ kind: runtime.kind, program: program(source), options })
  while (!signal.aborted) {
    try {
      await callAndForget(await instances.acquire('attacker', load, signal))
    } catch (error) {
      if (signal.aborted) break
      if (!isProtocolError(error) || error.code !== 'program_resting') throw error
      await systemClock.sleep(refusedPauseMs, signal).catch(() => undefined)
    }
  }
  signal.removeEventListener('abort', end)
  end()
}

/** A caller that is refused comes back as soon as this, whatever it was told. */
const refusedPauseMs = 20

async function callFor(victim: Instance, seconds: number, signal: AbortSignal): Promise<number[]> {
  const timesMs: number[] = []
  for (const endMs = performance.now() + seconds * 1_000; performance.now() < endMs; ) {
    signal.throwIfAborted()
    timesMs.push(await callOnce(victim))
  }
  return timesMs
}

/** What an attacker answers is thrown away, as it comes. */
function callAndForget(instance: Instance): Promise<void> {
  const request = { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] }
  return new Promise((resolve) => {
    instance.call(request, { onHead: () => undefined, onData: () => undefined, onEnd: () => resolve() })
  })
}

async function callOnce(instance: Instance): Promise<number> {
  const startedMs = performance.now()
  await collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] })
  return performance.now() - startedMs
}
