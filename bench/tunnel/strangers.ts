import type { Load, Sample } from '../load.ts'
import type { Measurement } from '../measurement.ts'
import { median } from '../median.ts'
import { openRig } from '../rig.ts'
import { warmUp } from '../rounds.ts'
import { type OwnWay, startOrigin, startOwnWay, startPart } from './setup.ts'
import type { StrangerKind, StrangersOrder } from './strangers-process.ts'

const visitors: readonly { readonly name: string; readonly kind?: StrangerKind }[] = [
  { name: 'nobody' },
  { name: '300 that ask for 64 MiB and never read', kind: 'never read' },
  { name: '2000 connections that say nothing', kind: 'say nothing' },
  { name: '100 in a second that are malformed', kind: 'talk garbage' },
  { name: '100 in a second that offer no tunnel', kind: 'dial tunnels' },
]
const connections = 4

/** What honest callers wait for while strangers misbehave at the same gateway. */
export const strangers: Measurement = {
  name: 'strangers',
  title: 'Calls through a tunnel beside strangers at the same gateway',
  async run({ rounds, seconds, note }, signal) {
    await using parts = new AsyncDisposableStack()
    const { load, cores, remark } = parts.use(await openRig(signal))
    const origin = parts.use(await startOrigin(signal))
    const own = parts.use(await startOwnWay({ origin, cores }, signal))
    await warmUp(load, [own.target], { seconds }, signal)
    const samples = visitors.map((): Sample[] => [])
    for (let round = 0; round < rounds; round += 1) {
      const order = round % 2 === 0 ? [...visitors.keys()] : [...visitors.keys()].reverse()
      for (const index of order) {
        const { name, kind } = visitors[index]!
        note(`beside ${name}`)
        samples[index]?.push(await callBeside(kind, { own, load, seconds }, signal))
      }
    }
    const [alone = []] = samples
    return {
      tables: [
        {
          caption: `${connections} connections`,
          columns: ['beside', 'req/s', 'p50 ms', 'p99 ms', 'p50 ×', 'p99 ×', 'failed'],
          rows: visitors.map(({ name }, index) => {
            const beside = samples[index] ?? []
            const timesAlone = (key: 'p50Us' | 'p99Us') =>
              median(beside.map((sample, round) => sample[key] / (alone[round]?.[key] ?? Number.NaN)))
            return [
              name,
              median(beside.map(({ requestsPerSecond }) => requestsPerSecond)),
              median(beside.map(({ p50Us }) => p50Us)) / 1000,
              median(beside.map(({ p99Us }) => p99Us)) / 1000,
              timesAlone('p50Us'),
              timesAlone('p99Us'),
              String(beside.reduce((sum, { failures }) => sum + failures, 0)),
            ]
          }),
        },
      ],
      remarks: [
        `${remark} Strangers share the core of the generator.`,
        'Each stranger has an address of its own, and comes again when its connection is closed.',
      ],
    }
  },
}

interface Calling {
  readonly own: OwnWay
  readonly load: Load
  readonly seconds: number
}

async function callBeside(
  kind: StrangerKind | undefined,
  { own, load, seconds }: Calling,
  signal: AbortSignal,
): Promise<Sample> {
  const order =
    kind &&
    ({ kind, port: Number(own.gateway.facts['port']), host: own.target.host ?? '' } satisfies StrangersOrder)
  await using _strangers = order && (await startPart('strangers-process.ts', [JSON.stringify(order)], signal))
  return await load.run(own.target, { connections, seconds })
}
