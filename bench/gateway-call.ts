import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import { gatewayTarget, helloDir, providerTarget } from './hello.ts'
import type { Measurement } from './measurement.ts'
import { startNginx } from './peers.ts'

/** The same call through the gateway: to a provider with an address, and to one behind a tunnel. */
export const gatewayCall: Measurement = {
  name: 'gateway-call',
  title: 'Warm call through the gateway and the tunnel',
  async run(context, signal) {
    const market = await context.market()
    const { gateway } = market
    const alice = await market.provider('alice')
    const bob = await market.provider('bob')
    const cid = await market.deploy({ programDir: helloDir, providers: ['alice', 'bob'] }, signal)
    const provider = providerTarget(alice, { cid })
    const direct = gatewayTarget(
      { gateway, provider: alice },
      { name: 'gateway, direct', subdomain: 'alice', cid },
    )
    const tunnel = gatewayTarget(
      { gateway, provider: bob },
      { name: 'gateway, tunnel', subdomain: 'bob', cid },
    )
    await using peers = new AsyncDisposableStack()
    const nginx = await startNginx({ dir: join(context.dir, 'nginx'), upstream: provider }, signal)
    if (nginx) peers.use(nginx)
    const { tables, ratioOf } = await compareTargets(
      context,
      {
        targets: [provider, direct, tunnel, ...(nginx ? [nginx.target] : [])],
        peer: provider,
      },
      signal,
    )
    return {
      tables,
      remarks: [
        `The tunnel beside the direct way, both through the gateway: ${ratioOf(tunnel, direct)}.`,
        nginx
          ? 'nginx is a reverse proxy with one worker before the same provider.'
          : 'Skipped: nginx, a reverse proxy before the same provider, is not installed here.',
      ],
    }
  },
}
