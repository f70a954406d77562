import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import { helloDir, providerTarget } from './hello.ts'
import type { Measurement } from './measurement.ts'
import { openMemoryDir } from './memory-dir.ts'
import { startBareWorkerd, startNodePeer } from './peers.ts'

/** A warm call that its owner pays for, at the provider itself, beside the same answer from servers that nobody pays. */
export const warmCall: Measurement = {
  name: 'warm-call',
  title: 'Warm call at the provider',
  async run(context, signal) {
    const market = await context.market()
    const alice = await market.provider('alice')
    await using peers = new AsyncDisposableStack()
    const memoryDir = await openMemoryDir(peers)
    const dave = memoryDir && peers.use(await market.startProvider('dave', { dir: memoryDir }))
    const providers = ['alice' as const, ...(dave ? ['dave' as const] : [])]
    const cid = await market.deploy({ programDir: helloDir, providers }, signal)
    const source = await readFile(join(helloDir, 'src', 'index.js'), 'utf8')
    const workerd = peers.use(await startBareWorkerd({ dir: join(context.dir, 'workerd'), source }, signal))
    const hono = peers.use(await startNodePeer({ name: 'bare hono', file: 'hono.ts' }, signal))
    const node = peers.use(await startNodePeer({ name: 'bare node:http', file: 'node-http.ts' }, signal))
    const inMemory = dave && providerTarget(dave, { name: 'provider, books in memory', cid })
    const { tables } = await compareTargets(
      context,
      {
        targets: [
          providerTarget(alice, { cid }),
          ...(inMemory ? [inMemory] : []),
          workerd.target,
          hono.target,
          node.target,
        ],
        peer: workerd.target,
      },
      signal,
    )
    return {
      tables,
      remarks: [
        'The provider reserves the price before each of these calls, and has charge and receipt on disk before the ' +
          'last byte of the answer; the peers do neither. With the books in memory the same is done without a wait ' +
          'for the disk, which shows what is the disk’s and what is ours. “program” is workerd, or the peer itself.',
      ],
    }
  },
}
