import type { Target } from './load.ts'
import type { BenchContext, Table } from './measurement.ts'
import { addedP50Us, ratioOf, runRounds, type Standing, warmUp } from './rounds.ts'

export interface Comparison {
  readonly tables: readonly Table[]
  /** Throughput of one target beside that of another, for each number of connections, in words. */
  ratioOf(target: Target, peer: Target): string
}

/** Measures targets beside one of them, with one connection and with many. */
export async function compareTargets(
  { load, rounds, seconds, note }: BenchContext,
  {
    targets,
    peer,
    connectionCounts = [1, 50],
  }: {
    readonly targets: readonly Target[]
    readonly peer: Target
    /** Connections at once: one shows what a call waits for, many what the machine can do. */
    readonly connectionCounts?: readonly number[]
  },
  signal: AbortSignal,
): Promise<Comparison> {
  const found = new Map<number, readonly Standing[]>()
  const names = targets.map(({ name }) => name).join(', ')
  note(`warming up: ${names}`)
  await warmUp(load, targets, { seconds }, signal)
  for (const connections of connectionCounts) {
    note(`${names}: ${describeConnections(connections)}`)
    found.set(connections, await runRounds(load, targets, { connections, rounds, seconds }, signal))
  }
  return {
    tables: [...found].map(([connections, standings]) =>
      tabulate(standings, { peer: peer.name, caption: describeConnections(connections) }),
    ),
    ratioOf: (target, other) =>
      [...found]
        .map(([connections, standings]) => {
          const ratio = ratioOf(standingOf(standings, target.name), standingOf(standings, other.name))
          return `${ratio.toFixed(2)} × with ${describeConnections(connections)}`
        })
        .join(', '),
  }
}

const describeConnections = (count: number) => (count === 1 ? '1 connection' : `${count} connections`)

function standingOf(standings: readonly Standing[], name: string): Standing {
  const found = standings.find(({ target }) => target === name)
  if (found) return found
  throw new Error(`${name} was not measured`)
}

function tabulate(
  standings: readonly Standing[],
  { peer, caption }: { peer: string; caption: string },
): Table {
  const base = standingOf(standings, peer)
  const hasFailures = standings.some(({ failures }) => failures > 0)
  const roles = [...new Set(standings.flatMap(({ cpuUs }) => Object.keys(cpuUs)))]
  return {
    caption,
    columns: [
      '',
      'req/s',
      `× ${peer}`,
      'p50 ms',
      'added p50 ms',
      'p99 ms',
      ...roles.map((role) => `CPU µs/req: ${role}`),
      ...(hasFailures ? ['failed'] : []),
    ],
    rows: standings.map((standing) => [
      standing.target,
      standing.requestsPerSecond,
      ratioOf(standing, base),
      standing.p50Us / 1000,
      standing === base ? undefined : addedP50Us(standing, base) / 1000,
      standing.p99Us / 1000,
      ...roles.map((role) => standing.cpuUs[role]),
      ...(hasFailures ? [String(standing.failures)] : []),
    ]),
  }
}
