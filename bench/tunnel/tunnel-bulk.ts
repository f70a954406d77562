import { join } from 'node:path'
import { MiB } from '../../protocol/base/bytes.ts'
import { describeCores, pinBench } from '../cores.ts'
import type { Target } from '../load.ts'
import type { BenchContext, Measurement, Table } from '../measurement.ts'
import { median } from '../median.ts'
import { startPeerWays } from './peers.ts'
import { startOrigin, startOwnWay, startRelay, type TunnelWay } from './setup.ts'
import { type Transfer, transfer } from './transfer.ts'

const bulkBytes = 1024 * MiB
const farBytes = 128 * MiB
const farRttMs = 50
/** What is slow is slow each time. */
const roundsMax = 3

/** Large bodies through tunnels: as fast as it goes, and over a long line. */
export const tunnelBulk: Measurement = {
  name: 'tunnel-bulk',
  title: 'Large bodies through tunnels',
  async run(context, signal) {
    const rounds = Math.min(context.rounds, roundsMax)
    await using parts = new AsyncDisposableStack()
    const pinned = await pinBench(signal)
    if (pinned) parts.use(pinned)
    const cores = pinned?.measured
    const origin = parts.use(await startOrigin(signal))
    const own = parts.use(await startOwnWay({ origin, cores }, signal))
    const dir = join(context.dir, 'tunnel-bulk')
    const peers = parts.use(await startPeerWays({ origin, cores, dir }, signal))
    const ways = [own, ...peers.ways]
    const tables: Table[] = []
    for (const direction of ['down', 'up'] as const) {
      context.note(`1 GiB ${direction}`)
      const found = await inTurns(ways, rounds, (target) =>
        transfer({ target, bytes: bulkBytes, direction }, signal),
      )
      tables.push(tabulate(`1 GiB ${direction}`, found))
    }
    tables.push(await measureFar(context, cores, signal))
    return {
      tables,
      remarks: [
        `${describeCores(pinned)}.`,
        `With ${farRttMs} ms of round trip between client and gateway it is ${farBytes / MiB} MiB down; a relay on this machine delays each byte.`,
        ...peers.skipped,
      ],
    }
  },
}

/** Each way has a long line of its own. */
async function measureFar(
  context: BenchContext,
  cores: string | undefined,
  signal: AbortSignal,
): Promise<Table> {
  await using parts = new AsyncDisposableStack()
  context.note(`${farBytes / MiB} MiB at ${farRttMs} ms`)
  const origin = parts.use(await startOrigin(signal))
  const relay = parts.use(await startRelay({ rttMs: farRttMs }, signal))
  const move = (target: Target) => transfer({ target, bytes: farBytes, direction: 'down' }, signal)
  const rows = new Map<string, Transfer[]>()
  const own = await startOwnWay({ origin, relay, cores, sockets: 1 }, signal)
  rows.set(own.target.name, [await move(own.target), await move(own.target)])
  await own[Symbol.asyncDispose]()
  for (const kind of ['frp', 'chisel', 'ssh'] as const) {
    const dir = join(context.dir, `tunnel-far-${kind}`)
    // One at a time: there is one line, and it leads to one server.
    await using peers = await startPeerWays({ origin, relay, cores, dir, only: kind }, signal)
    for (const { target } of peers.ways) rows.set(target.name, [await move(target)])
  }
  return tabulate(`${farBytes / MiB} MiB down, ${farRttMs} ms round trip`, rows)
}

async function inTurns(
  ways: readonly TunnelWay[],
  rounds: number,
  move: (target: Target) => Promise<Transfer>,
): Promise<Map<string, Transfer[]>> {
  const found = new Map(ways.map(({ target }) => [target.name, [] as Transfer[]]))
  for (let round = 0; round < rounds; round++) {
    for (const { target } of round % 2 === 0 ? ways : ways.toReversed())
      found.get(target.name)?.push(await move(target))
  }
  return found
}

function tabulate(caption: string, found: ReadonlyMap<string, readonly Transfer[]>): Table {
  const roles = ['gateway', 'client']
  const cpu = (transfers: readonly Transfer[], role: string) =>
    median(transfers.map(({ cpuSecondsPerGib }) => cpuSecondsPerGib[role] ?? Number.NaN))
  return {
    caption,
    columns: [
      '',
      'MiB/s',
      ...roles.map((role) => `CPU s/GiB: ${role}`),
      ...roles.map((role) => `peak MiB: ${role}`),
    ],
    rows: [...found].map(([name, transfers]) => [
      name,
      median(transfers.map(({ mibPerSecond }) => mibPerSecond)),
      ...roles.map((role) => cpu(transfers, role)),
      ...roles.map((role) => Math.max(...transfers.map(({ peakMib }) => peakMib[role] ?? Number.NaN))),
    ]),
  }
}
