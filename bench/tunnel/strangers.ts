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
    const visits = visitors.map((): Visit[] => [])
    for (let round = 0; round < rounds; round += 1) {
      const order = round % 2 === 0 ? [...visitors.keys()] : [...visitors.keys()].reverse()
      for (const index of order) {
        const { name, kind } = visitors[index]!
        note(`beside ${name}`)
        visits[index]?.push(await callBeside(kind, { own, load, seconds }, signal))
      }
    }
    const [alone = []] = visits
    const middle = (of: readonly Visit[], when: keyof Visit, key: 'p50Us' | 'p99Us') =>
      median(of.map((visit) => visit[when][key])) / 1000
    return {
      tables: [
        {
          caption: `${connections} connections`,
          columns: [
            'beside',
            ...whens.flatMap((when) => [`p50 ms, ${when}`, `p99 ms, ${when}`, '×']),
            'failed',
          ],
          rows: visitors.map(({ name }, index) => {
            const beside = visits[index] ?? []
            return [
              name,
              ...whens.flatMap((when) => [
                middle(beside, when, 'p50Us'),
                middle(beside, when, 'p99Us'),
                median(
                  beside.map(
                    (visit, round) => visit[when].p99Us / (alone[round]?.[when].p99Us ?? Number.NaN),
                  ),
                ),
              ]),
              String(beside.reduce((sum, visit) => sum + visit.coming.failures + visit.staying.failures, 0)),
            ]
          }),
        },
      ],
      remarks: [
        `${remark} Strangers share the core of the generator.`,
        'Each stranger has an address of its own, and comes again when its connection is closed.',
        `“Coming” is the first ${seconds} s after they begin, “staying” the next; × is p99 beside p99 beside nobody.`,
      ],
    }
  },
}

const whens = ['coming', 'staying'] as const

/** Calls while strangers come, and when they are there. */
type Visit = Readonly<Record<(typeof whens)[number], Sample>>

interface Calling {
  readonly own: OwnWay
  readonly load: Load
  readonly seconds: number
}

async function callBeside(
  kind: StrangerKind | undefined,
  { own, load, seconds }: Calling,
  signal: AbortSignal,
): Promise<Visit> {
  const order =
    kind &&
    ({ kind, port: Number(own.gateway.facts['port']), host: own.target.host ?? '' } satisfies StrangersOrder)
  await using _strangers = order && (await startPart('strangers-process.ts', [JSON.stringify(order)], signal))
  const coming = await load.run(own.target, { connections, seconds })
  return { coming, staying: await load.run(own.target, { connections, seconds }) }
}
