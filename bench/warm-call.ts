import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import { helloDir, providerTarget } from './hello.ts'
import type { Measurement } from './measurement.ts'
import { startBareWorkerd, startNodePeer } from './peers.ts'

/** A warm call that its owner pays for, at the provider itself, beside the same answer from servers that nobody pays. */
export const warmCall: Measurement = {
  name: 'warm-call',
  title: 'Warm call at the provider',
  async run(context, signal) {
    const market = await context.market()
    const alice = await market.provider('alice', signal)
    const cid = await market.deploy({ programDir: helloDir, providers: ['alice'] }, signal)
    const source = await readFile(join(helloDir, 'src', 'index.js'), 'utf8')
    await using peers = new AsyncDisposableStack()
    const workerd = peers.use(await startBareWorkerd({ dir: join(context.dir, 'workerd'), source }, signal))
    const hono = peers.use(await startNodePeer({ name: 'bare hono', file: 'hono.ts' }, signal))
    const node = peers.use(await startNodePeer({ name: 'bare node:http', file: 'node-http.ts' }, signal))
    const provider = providerTarget(alice, cid)
    const { tables } = await compareTargets(context, {
      targets: [provider, workerd.target, hono.target, node.target],
      peer: workerd.target,
    })
    return {
      tables,
      remarks: [
        'The provider reserves the price before each of these calls, and has charge and receipt on disk before the ' +
          'last byte of the answer; the peers do neither. “program” is workerd, or the peer itself.',
      ],
    }
  },
}
