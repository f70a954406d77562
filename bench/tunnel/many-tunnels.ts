import { join } from 'node:path'
import type { Target } from '../load.ts'
import type { Measurement } from '../measurement.ts'
import { median } from '../median.ts'
import { openRig } from '../rig.ts'
import { runRounds, warmUp } from '../rounds.ts'
import { startSmallAnswers } from '../small-answers.ts'
import { type OwnWay, startOwnWay } from './setup.ts'

const tunnels = 1_000
const namesPerTunnel = 10
const connections = 64

/** What a gateway that knows many names and holds many tunnels takes for a call, beside one that has one of each. */
export const manyTunnels: Measurement = {
  name: 'many-tunnels',
  title: 'Calls to ten thousand names behind a thousand tunnels',
  async run({ dir, rounds, seconds, note }, signal) {
    await using parts = new AsyncDisposableStack()
    const { load, cores, remark } = parts.use(await openRig(signal))
    const origin = parts.use(await startSmallAnswers(join(dir, 'many-tunnels'), signal))
    note('one tunnel')
    const one = parts.use(await startOwnWay({ origin, cores, sockets: 1 }, signal))
    note(`${tunnels} tunnels`)
    const many = parts.use(await startOwnWay({ origin, cores, tunnels, sockets: 1 }, signal))
    const names = tunnels * namesPerTunnel
    const targets: readonly Target[] = [
      // The generator is to have the same work with both.
      { ...one.target, name: 'one name, one tunnel', hosts: hostsOf(one, 1) },
      {
        ...many.target,
        name: `${names} names, ${tunnels} tunnels`,
        hosts: hostsOf(many, namesPerTunnel),
      },
    ]
    note('each name is called')
    await warmUp(load, targets, { seconds }, signal)
    const standings = await runRounds(load, targets, { connections, rounds, seconds }, signal)
    const [few, all] = standings.map(({ rounds: samples }) => samples)
    const ratio = median((all ?? []).map(({ p99Us }, index) => p99Us / (few?.[index]?.p99Us ?? Number.NaN)))
    return {
      tables: [
        {
          caption: `${connections} connections`,
          columns: ['', 'req/s', 'p50 ms', 'p99 ms', 'CPU µs/req: gateway', 'CPU µs/req: client', 'failed'],
          rows: standings.map(({ target, requestsPerSecond, failures, p50Us, p99Us, cpuUs }) => [
            target,
            requestsPerSecond,
            p50Us / 1000,
            p99Us / 1000,
            cpuUs['gateway'],
            cpuUs['client'],
            String(failures),
          ]),
        },
      ],
      remarks: [
        remark,
        `p99 with many beside p99 with one, the median of the ratios of each round: ${ratio.toFixed(2)}.`,
        'Each call has the next name; all thousand tunnels are in one client process here.',
      ],
    }
  },
}

/** The names that lead to each tunnel, the tunnels in turn. */
function hostsOf({ names, gateway }: OwnWay, perTunnel: number): readonly string[] {
  return Array.from({ length: perTunnel }, (_, number) =>
    names.map((name) => `${name}${number === 0 ? '' : `n${number}`}.${gateway.facts['domain']}`),
  ).flat()
}
