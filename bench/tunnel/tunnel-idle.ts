import { join } from 'node:path'
import type { Measurement } from '../measurement.ts'
import { openRig } from '../rig.ts'
import { runRounds, warmUp } from '../rounds.ts'
import { startSmallAnswers } from '../small-answers.ts'
import { startOwnWay } from './setup.ts'

const tunnels = 1_000
const rounds = 3

/** What a thousand tunnels that do nothing cost their gateway, and the calls of the others. */
export const tunnelIdle: Measurement = {
  name: 'tunnel-idle',
  title: 'A thousand idle tunnels',
  async run({ dir, seconds, note }, signal) {
    await using parts = new AsyncDisposableStack()
    const { load, cores, remark } = parts.use(await openRig(signal))
    const origin = parts.use(await startSmallAnswers(join(dir, 'tunnel-idle'), signal))
    note('one tunnel')
    const few = parts.use(await startOwnWay({ origin, cores, sockets: 1 }, signal))
    note(`${tunnels} tunnels`)
    const many = parts.use(await startOwnWay({ origin, cores, tunnels, sockets: 1 }, signal))
    const memoryOf = async ({ gateway }: typeof few) => {
      const answer = await fetch(`http://127.0.0.1:${gateway.facts['memoryPort']}/`)
      return (await answer.json()) as { readonly rss: number; readonly heapUsed: number }
    }
    const [before, after] = [await memoryOf(few), await memoryOf(many)]
    const perTunnel = (bytes: number) => bytes / 1024 / (tunnels - 1)
    const targets = [
      { ...few.target, name: 'one tunnel' },
      { ...many.target, name: 'one of a thousand' },
    ]
    await warmUp(load, targets, { seconds }, signal)
    const standings = await runRounds(load, targets, { connections: 64, rounds, seconds }, signal)
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'RSS MiB', 'KiB per tunnel', 'heap KiB per tunnel', 'req/s', 'p99 ms'],
          rows: [
            [
              'one tunnel',
              before.rss / 2 ** 20,
              undefined,
              undefined,
              standings[0]?.requestsPerSecond,
              (standings[0]?.p99Us ?? 0) / 1000,
            ],
            [
              `${tunnels} tunnels`,
              after.rss / 2 ** 20,
              perTunnel(after.rss - before.rss),
              perTunnel(after.heapUsed - before.heapUsed),
              standings[1]?.requestsPerSecond,
              (standings[1]?.p99Us ?? 0) / 1000,
            ],
          ],
        },
      ],
      remarks: [
        remark,
        'Memory is that of the gateway after a collection and before any call; a tunnel is one socket here. What V8 keeps in pages that are not full counts for RSS, and differs from run to run; the heap does not.',
      ],
    }
  },
}
