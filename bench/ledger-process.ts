import { randomBytes } from 'node:crypto'
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Hex } from 'viem'
import { usdc } from '../protocol/usdc.ts'
import { openDatabase } from '../provider/ledger/schema.ts'
import { createChargeStore } from '../provider/ledger/store.ts'
import {
  chargeCall,
  claimOf,
  createTestSigner,
  grantOf,
  market,
  openTestLedger,
  provider,
  receiptOf,
} from '../test/support/money.ts'

/**
 * One round of charging, in a process of its own: `ledger-process.ts <dir> <way> <milliseconds>`, where the way is a
 * number of callers of the real ledger, `each` for a commit of the same rows per charge, or `sync` for bare fdatasync.
 */
const [dir = '', way = '', milliseconds = ''] = process.argv.slice(2)
const durationMs = Number(milliseconds)
const priceUsdc = usdc(500n)

const count =
  way === 'each' ? await chargeEach() : way === 'sync' ? syncEach() : await chargeInGroups(Number(way))
console.log(JSON.stringify(count))

interface Count {
  readonly charges: number
  readonly elapsedMs: number
}

/** As a provider charges: reservation, record, and the journal's thread with its groups. */
async function chargeInGroups(callers: number): Promise<Count> {
  await using ledger = await openTestLedger(dir)
  const grant = grantOf({ budgetUsdc: usdc(10n ** 15n) })
  let charges = 0
  const startedMs = performance.now()
  const callUntilEnd = async () => {
    while (performance.now() - startedMs < durationMs) {
      await chargeCall(ledger, { grant })
      charges += 1
    }
  }
  await Promise.all(Array.from({ length: callers }, callUntilEnd))
  return { charges, elapsedMs: performance.now() - startedMs }
}

/** The same rows in the same schema, but each charge in a transaction of its own, and without a thread between. */
async function chargeEach(): Promise<Count> {
  using db = openDatabase(dir, { provider, market })
  const store = createChargeStore(db, { provider, market }, await createTestSigner())
  const startedMs = performance.now()
  let charges = 0
  while (performance.now() - startedMs < durationMs) {
    charges += 1
    const callId: Hex = `0x${randomBytes(32).toString('hex')}`
    const receipt = receiptOf(claimOf({ callId, priceUsdc }))
    const chargedUsdc = usdc(BigInt(charges) * priceUsdc)
    const ownerUsage = { spec: receipt.deployment, day: 0, chargedUsdc, minute: 0, calls: charges }
    const totals = { chargedUsdc, calls: charges, pass: undefined, ownerUsage, key: undefined }
    store.write([store.seal([{ receiptId: charges, receipt, ...totals }])])
  }
  return { charges, elapsedMs: performance.now() - startedMs }
}

/** What the disk does at most: an append of one page and its sync. */
function syncEach(): Count {
  const file = openSync(join(dir, 'page'), 'w')
  const page = randomBytes(4096)
  const startedMs = performance.now()
  let charges = 0
  while (performance.now() - startedMs < durationMs) {
    writeSync(file, page)
    fdatasyncSync(file)
    charges += 1
  }
  const elapsedMs = performance.now() - startedMs
  closeSync(file)
  return { charges, elapsedMs }
}
