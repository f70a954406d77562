import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../protocol/base/clock.ts'
import { createTestLog } from '../protocol/base/log.ts'
import { collectAnswer } from '../provider/runtime/collect-answer.ts'
import { openRuntimes } from '../provider/runtime/open-runtimes.ts'
import type { Runtime } from '../provider/runtime/runtime.ts'
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
    await using victim = await start(runtime, hello, signal)
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
      ],
    }
  },
}

/** Sources of programs; each is called without a pause. */
const attackers = {
  nobody: undefined,
  'one that loops': 'export default { fetch() { for (;;); } }',
  'one that fills its memory': `const kept = []
    export default { fetch() { for (;;) kept.push(new Uint8Array(1 << 20).fill(1)) } }`,
  'one that floods its log': `const line = 'x'.repeat(1000)
    export default { fetch() { for (;;) console.log(line) } }`,
  'one that answers without end': `export default {
    fetch: () => new Response(new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(65536)) })),
  }`,
} as const

function start(runtime: Runtime, source: string, signal: AbortSignal) {
  const program = { files: [{ path: 'index.js', bytes: Buffer.from(source) }], entry: 'index.js' }
  const limits = { timeoutMs: 1_000, memoryMiB: 64 }
  return runtime.start(program, { env: {}, params: null, limits }, signal)
}

async function keepAttacking(
  runtime: Runtime,
  source: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  while (source !== undefined && !signal.aborted) {
    try {
      await using attacker = await start(runtime, source, signal)
      const stop = () => attacker.kill({ kind: 'stopped', why: 'the round is over' })
      signal.addEventListener('abort', stop, { once: true })
      while (!signal.aborted && (await attacker.isAlive)) await callAndForget(attacker)
      signal.removeEventListener('abort', stop)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

type Running = Awaited<ReturnType<typeof start>>

async function callFor(victim: Running, seconds: number, signal: AbortSignal): Promise<number[]> {
  const timesMs: number[] = []
  for (const endMs = performance.now() + seconds * 1_000; performance.now() < endMs; ) {
    signal.throwIfAborted()
    timesMs.push(await callOnce(victim))
  }
  return timesMs
}

/** What an attacker answers is thrown away, as it comes. */
function callAndForget(instance: Running): Promise<void> {
  const request = { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] }
  return new Promise((resolve) => {
    instance.call(request, { onHead: () => undefined, onData: () => undefined, onEnd: () => resolve() })
  })
}

async function callOnce(instance: Running): Promise<number> {
  const startedMs = performance.now()
  await collectAnswer(instance, { method: 'GET', target: '/', rawHeaders: ['host', 'bench'] })
  return performance.now() - startedMs
}
