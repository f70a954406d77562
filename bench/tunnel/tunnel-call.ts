import { join } from 'node:path'
import { compareTargets } from '../compare-targets.ts'
import type { Measurement } from '../measurement.ts'
import { startPeerWays } from './peers.ts'
import { originTarget, startOrigin, startOwnWay } from './setup.ts'

/** Small answers through tunnels, ours and those of others, in turns. */
export const tunnelCall: Measurement = {
  name: 'tunnel-call',
  title: 'Small answers of a web server through tunnels',
  async run(context, signal) {
    await using parts = new AsyncDisposableStack()
    const origin = parts.use(await startOrigin(signal))
    const own = parts.use(await startOwnWay({ origin }, signal))
    const peers = parts.use(await startPeerWays({ origin, dir: join(context.dir, 'tunnel-call') }, signal))
    const direct = originTarget(origin)
    const { tables, ratioOf } = await compareTargets(
      context,
      {
        targets: [direct, own.target, ...peers.ways.map(({ target }) => target)],
        peer: direct,
        connectionCounts: [1, 64, 500],
      },
      signal,
    )
    return {
      tables,
      remarks: [
        ...peers.ways.map(
          ({ target }) => `khachapuri beside ${target.name}: ${ratioOf(own.target, target)}.`,
        ),
        'frp tcp and chisel pass bytes on and read no HTTP: they know neither names nor what a request is.',
        ...peers.skipped,
      ],
    }
  },
}
