import { join } from 'node:path'
import { compareTargets } from './compare-targets.ts'
import { helloDir, providerTarget } from './hello.ts'
import type { Measurement } from './measurement.ts'

/** What signing and showing a receipt of every call costs. */
export const receiptCalls: Measurement = {
  name: 'receipt-calls',
  title: 'Calls with receipts beside calls without',
  async run(context, signal) {
    const market = await context.market()
    const alice = await market.provider('alice')
    await using parts = new AsyncDisposableStack()
    const bare = parts.use(
      await market.startProvider('erin', {
        dir: join(context.dir, 'without-receipts'),
        nodeArgs: ['--import', join(import.meta.dirname, 'without-receipts.ts')],
      }),
    )
    const cid = await market.deploy({ programDir: helloDir, providers: ['alice', 'erin'] }, signal)
    const peer = providerTarget(bare, { name: 'without receipts', cid })
    const { tables } = await compareTargets(
      context,
      { targets: [peer, providerTarget(alice, { name: 'provider', cid })], peer },
      signal,
    )
    return {
      tables,
      remarks: [
        '“Without receipts” is the same provider, in whose ledger nothing is hashed, signed or written down of them: reservation, charge, ' +
          'rows and sync are the same, and its answers are some 800 bytes shorter. The bench takes that part out as the provider is loaded.',
      ],
    }
  },
}
