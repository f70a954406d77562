import { join } from 'node:path'
import { natsServer, startNats } from '../../test/support/nats.ts'
import { compareTargets } from '../compare-targets.ts'
import type { Target } from '../load.ts'
import type { Measurement } from '../measurement.ts'
import { openRig } from '../rig.ts'
import { startSmallAnswers } from '../small-answers.ts'
import { originTarget, startGatewayPart, startOwnWay, untilServed } from './setup.ts'

/** What it costs that a tunnel ends at another gateway: three of a cluster, and a provider at one of them. */
export const fleetHop: Measurement = {
  name: 'fleet-hop',
  title: 'Small answers through a fleet of three, at the gateway that has the tunnel and one hop before it',
  async run(context, signal) {
    if (!natsServer) return { tables: [], remarks: ['Skipped: nats-server is not installed here.'] }
    await using parts = new AsyncDisposableStack()
    const { load, cores, remark } = parts.use(await openRig(signal))
    const { url: natsUrl } = parts.use(await startNats())
    const origin = parts.use(await startSmallAnswers(join(context.dir, 'fleet-hop'), signal))
    const home = parts.use(await startOwnWay({ origin, natsUrl, cores }, signal))
    const here: Target = { ...home.target, name: 'at the gateway with the tunnel' }
    const others: Target[] = []
    for (const index of [2, 3]) {
      const other = parts.use(await startGatewayPart({ natsUrl, cores }, signal))
      const { port, domain } = other.facts
      others.push({
        ...home.target,
        name: `one hop, by gateway ${index}`,
        url: `http://127.0.0.1:${port}/`,
        host: `${home.names[0]}.${domain}`,
        processes: [{ role: 'other gateway', pid: other.pid }, ...home.target.processes],
      })
    }
    for (const other of others) await untilServed(other, signal)
    const direct = originTarget(origin)
    const { tables } = await compareTargets(
      { ...context, load },
      { targets: [here, ...others, direct], peer: here, connectionCounts: [1, 64] },
      signal,
    )
    return {
      tables,
      remarks: [
        `${remark} All three gateways share their core.`,
        'The hop goes over HTTP on loopback, as it would in a network of gateways; NATS carries no call.',
      ],
    }
  },
}
