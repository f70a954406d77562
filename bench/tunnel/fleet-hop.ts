import { natsServer, startNats } from '../../test/support/nats.ts'
import { compareTargets } from '../compare-targets.ts'
import type { Target } from '../load.ts'
import type { Measurement } from '../measurement.ts'
import { originTarget, startGatewayPart, startOrigin, startOwnWay, untilServed } from './setup.ts'

/** What it costs that a tunnel ends at another gateway: three of a cluster, and a provider at one of them. */
export const fleetHop: Measurement = {
  name: 'fleet-hop',
  title: 'Small answers through a fleet of three, at the gateway that has the tunnel and one hop before it',
  async run(context, signal) {
    if (!natsServer) return { tables: [], remarks: ['Skipped: nats-server is not installed here.'] }
    await using parts = new AsyncDisposableStack()
    const { url: natsUrl } = parts.use(await startNats())
    const origin = parts.use(await startOrigin(signal))
    const home = parts.use(await startOwnWay({ origin, natsUrl }, signal))
    const here: Target = { ...home.target, name: 'at the gateway with the tunnel' }
    const others: Target[] = []
    for (const index of [2, 3]) {
      const other = parts.use(await startGatewayPart({ natsUrl }, signal))
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
      context,
      { targets: [here, ...others, direct], peer: here, connectionCounts: [1, 64] },
      signal,
    )
    return {
      tables,
      remarks: [
        'The hop goes over HTTP on loopback, as it would in a network of gateways; NATS carries no call.',
      ],
    }
  },
}
