import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import type { Target } from './load.ts'
import type { Measurement } from './measurement.ts'
import { startCaddy, startHaproxy, startNginx, startNodePeer } from './peers.ts'
import { startProcess } from './processes.ts'

/** Small answers of a plain server through the gateway and through other proxies, each one process. */
export const gatewayProxy: Measurement = {
  name: 'gateway-proxy',
  title: 'Small bodies through the gateway as a proxy',
  async run(context, signal) {
    await using peers = new AsyncDisposableStack()
    const upstream = peers.use(await startNodePeer({ name: 'no proxy', file: 'node-http.ts' }, signal))
    const args = [join(import.meta.dirname, 'peers', 'gateway.ts'), new URL(upstream.target.url).origin]
    const gateway = peers.use(await startProcess({ command: process.execPath, args }, signal))
    const ours: Target = {
      name: 'gateway',
      url: `http://127.0.0.1:${gateway.facts['port']}/`,
      host: `peer.${gateway.facts['domain']}`,
      processes: [{ role: 'proxy', pid: gateway.pid }, ...upstream.target.processes],
    }
    const found: Target[] = []
    const missing: string[] = []
    for (const [name, start] of [
      ['nginx', startNginx],
      ['haproxy', startHaproxy],
      ['caddy', startCaddy],
    ] as const) {
      const peer = await start({ dir: join(context.dir, name), upstream: upstream.target }, signal)
      if (peer) found.push(peers.use(peer).target)
      else missing.push(name)
    }
    const [nginx = upstream.target] = found
    const { tables, ratioOf } = await compareTargets(
      context,
      { targets: [upstream.target, ...found, ours], peer: nginx, connectionCounts: [1, 64, 500] },
      signal,
    )
    return {
      tables,
      remarks: [
        ...found.map((target) => `The gateway beside ${target.name}: ${ratioOf(ours, target)}.`),
        'Each proxy has one process and one core, and connections of its own to the same server. The peers check and ' +
          'tell nothing; the gateway reads the name, refuses what could be smuggled, looks at limits and lists, keeps ' +
          'trace and request id, and counts.',
        ...(missing.length === 0 ? [] : [`Skipped, as they are not installed here: ${missing.join(', ')}.`]),
      ],
    }
  },
}
