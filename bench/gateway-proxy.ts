import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import type { Target } from './load.ts'
import type { Measurement } from './measurement.ts'
import { startCaddy, startHaproxy, startNginx } from './peers.ts'
import { startProcess } from './processes.ts'
import { openRig } from './rig.ts'
import { startSmallAnswers } from './small-answers.ts'
import { originTarget } from './tunnel/setup.ts'

/** As the service of `gateway/operate` sets it. */
const nodeFlags = ['--max-semi-space-size=8']

/** Small answers of a plain server through the gateway and through other proxies, each one process. */
export const gatewayProxy: Measurement = {
  name: 'gateway-proxy',
  title: 'Small bodies through the gateway as a proxy',
  async run(context, signal) {
    await using peers = new AsyncDisposableStack()
    const { load, cores, remark } = peers.use(await openRig(signal))
    const dir = join(context.dir, 'gateway-proxy')
    const origin = peers.use(await startSmallAnswers(dir, signal))
    const upstream: Target = { ...originTarget(origin), name: 'no proxy' }
    const args = [
      ...nodeFlags,
      join(import.meta.dirname, 'peers', 'gateway.ts'),
      new URL(upstream.url).origin,
    ]
    const gateway = peers.use(await startProcess({ command: process.execPath, args, cores }, signal))
    const ours: Target = {
      name: 'gateway',
      url: `http://127.0.0.1:${gateway.facts['port']}/`,
      host: `peer.${gateway.facts['domain']}`,
      processes: [{ role: 'proxy', pid: gateway.pid }, ...upstream.processes],
    }
    const found: Target[] = []
    const missing: string[] = []
    for (const [name, start] of [
      ['nginx', startNginx],
      ['haproxy', startHaproxy],
      ['caddy', startCaddy],
    ] as const) {
      const peer = await start({ dir: join(dir, name), upstream, cores }, signal)
      if (peer) found.push(peers.use(peer).target)
      else missing.push(name)
    }
    const [nginx = upstream] = found
    const { tables, ratioOf } = await compareTargets(
      { ...context, load },
      { targets: [upstream, ...found, ours], peer: nginx, connectionCounts: [1, 64, 500] },
      signal,
    )
    return {
      tables,
      remarks: [
        ...found.map((target) => `The gateway beside ${target.name}: ${ratioOf(ours, target)}.`),
        remark,
        'Each proxy has one process, and connections of its own to the same server. The peers check and ' +
          'tell nothing; the gateway reads the name, refuses what could be smuggled, looks at limits and lists, keeps ' +
          'trace and request id, and counts.',
        ...(missing.length === 0 ? [] : [`Skipped, as they are not installed here: ${missing.join(', ')}.`]),
      ],
    }
  },
}
