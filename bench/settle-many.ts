import type { Address } from 'viem'
import { openSettling } from '../test/support/settling.ts'
import type { Measurement } from './measurement.ts'

const payerCount = 1_000
const callsPerPayer = 10

/** What it takes to turn the charges of many payers into money: a real ledger, mirror, sender and settler, a real chain. */
export const settleMany: Measurement = {
  name: 'settle-10k',
  title: 'Settlement of 10 000 calls of 1 000 payers',
  async run({ note }, signal) {
    await using market = await openSettling()
    await using provider = await market.start()
    const payers: Address[] = []
    for (let index = 0; index < payerCount; index += 1) {
      signal.throwIfAborted()
      payers.push(await market.createPayer())
    }
    note(`charging ${payerCount * callsPerPayer} calls`)
    for (const payer of payers) await provider.charge(payer, callsPerPayer)

    const startedMs = performance.now()
    const { batches } = await provider.settler.settleNow(signal)
    const seconds = (performance.now() - startedMs) / 1000
    const gas = batches.reduce((sum, { gasUsed }) => sum + Number(gasUsed), 0)
    const calls = batches.reduce((sum, { receipts }) => sum + receipts, 0)
    return {
      tables: [
        {
          caption: '',
          columns: ['', 'transactions', 'gas', 'gas per call', 'seconds', 'calls/s'],
          rows: [
            [
              `${calls} calls of ${payerCount} payers`,
              `${batches.length}`,
              gas,
              gas / calls,
              seconds,
              calls / seconds,
            ],
          ],
        },
      ],
      remarks: [
        'From the receipts on disk to the block: leaves and usage root over all calls, rows, one signature for each ' +
          'transaction. The chain runs in the same process, and most of the seconds are its own.',
      ],
    }
  },
}
