import { join } from 'node:path'
import { compareTargets } from '../compare-targets.ts'
import type { Measurement } from '../measurement.ts'
import { openRig } from '../rig.ts'
import { startSmallAnswers } from '../small-answers.ts'
import { startPeerWays } from './peers.ts'
import { originTarget, startOwnWay } from './setup.ts'

/** Small answers through tunnels, ours and those of others, in turns. */
export const tunnelCall: Measurement = {
  name: 'tunnel-call',
  title: 'Small answers of a web server through tunnels',
  async run(context, signal) {
    await using parts = new AsyncDisposableStack()
    const { load, cores, remark } = parts.use(await openRig(signal))
    const dir = join(context.dir, 'tunnel-call')
    const origin = parts.use(await startSmallAnswers(dir, signal))
    const own = parts.use(await startOwnWay({ origin, cores }, signal))
    const peers = parts.use(await startPeerWays({ origin, cores, dir }, signal))
    const direct = originTarget(origin)
    const { tables, ratioOf } = await compareTargets(
      { ...context, load },
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
        remark,
        ...peers.ways.map(
          ({ target }) => `khachapuri beside ${target.name}: ${ratioOf(own.target, target)}.`,
        ),
        'frp tcp and chisel pass bytes on and read no HTTP: they know neither names nor what a request is.',
        ...peers.skipped,
      ],
    }
  },
}
