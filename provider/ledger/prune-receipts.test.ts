import { statSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Outcome } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import { type Receipt, receiptLeaf } from '../../protocol/receipt.ts'
import { usdc, zeroUsdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  claimOf,
  createTempDir,
  createTestSigner,
  market,
  provider,
  randomHex,
  receiptOf,
} from '../../test/support/money.ts'
import { createBatchStore } from './batches.ts'
import { meteredLane } from './lanes.ts'
import type { ReceiptBounds } from './prune-receipts.ts'
import type { ChargeRecord } from './records.ts'
import { openDatabase } from './schema.ts'
import { createChargeStore } from './store.ts'

const day = 24 * 60 * 60 * 1000
const identity = { provider, market }
const signer = await createTestSigner()
const noBounds: ReceiptBounds = {
  unpaidPerPayerMax: Number.MAX_SAFE_INTEGER,
  unpaidMax: Number.MAX_SAFE_INTEGER,
  unpaidAgeMsMax: Number.MAX_SAFE_INTEGER,
  paidAgeMsMax: Number.MAX_SAFE_INTEGER,
}

/** The journal's files without its thread, and books that add plainly. */
function setup(bounds: Partial<ReceiptBounds> | undefined) {
  const dir = createTempDir()
  const db = openDatabase(dir.path, identity)
  const store = createChargeStore(db, identity, signer, bounds && { ...noBounds, ...bounds })
  const batches = createBatchStore(db, identity)
  const totals = new Map<number, { chargedUsdc: bigint; calls: number }>()
  let receiptId = 0

  function recordOf(
    who: number,
    {
      priceUsdc = zeroUsdc,
      outcome = 'program_crashed' as Outcome,
      startedAt = day,
      key,
    }: Partial<Receipt> & {
      readonly key?: string
    } = {},
  ): ChargeRecord {
    const payer = addressOf(0x100 + who)
    const before = totals.get(who) ?? { chargedUsdc: 0n, calls: 0 }
    const after = {
      chargedUsdc: before.chargedUsdc + priceUsdc,
      calls: before.calls + (priceUsdc > 0n ? 1 : 0),
    }
    totals.set(who, after)
    receiptId += 1
    const claim = claimOf({ payer: { kind: 'owner', address: payer } })
    return {
      receiptId,
      receipt: receiptOf(claim, { priceUsdc, outcome, startedAt }),
      chargedUsdc: usdc(after.chargedUsdc),
      calls: after.calls,
      pass: undefined,
      ownerUsage: undefined,
      key:
        key === undefined
          ? undefined
          : { key, requestDigest: randomHex(), storedAtMs: startedAt, answer: undefined },
    }
  }

  const commit = (records: readonly ChargeRecord[]) => {
    for (let i = 0; i < records.length; i += limits.ledgerGroupRecordsMax)
      store.write([store.seal(records.slice(i, i + limits.ledgerGroupRecordsMax))])
    return records
  }
  const isKept = ({ receipt }: ChargeRecord) => store.readReceipt(receipt.callId) !== undefined
  const settle = async (who: number, spentUsdc = 0n, calls = 0) =>
    batches.create({
      candidates: [
        {
          ...meteredLane(addressOf(0x100 + who)),
          voucher: undefined,
          spentUsdc: usdc(spentUsdc),
          calls,
          priceUsdc: usdc(1_000n),
        },
      ] as never,
      receiptsMax: limits.settleReceiptsMax,
      nowMs: day,
    })
  return {
    db,
    store,
    batches,
    recordOf,
    commit,
    isKept,
    settle,
    fileBytes: () => statSync(join(dir.path, 'ledger.sqlite')).size,
    [Symbol.dispose]() {
      db.close()
      dir[Symbol.dispose]()
    },
  }
}

const times = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, i) => make(i))

test('a payer whose calls fail for ever takes no more of the disk: the newest receipts stay, and those of others', () => {
  using s = setup(undefined)
  const other = s.commit([s.recordOf(2)])[0]!
  const max = limits.unpaidReceiptsPerPayerMax
  const first = s.commit(times(max + 2_000, () => s.recordOf(1)))
  expect(first.map(s.isKept)).toEqual(first.map((_, i) => i >= 2_000))
  s.db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  const fullBytes = s.fileBytes()
  for (let round = 0; round < 3; round += 1) s.commit(times(max, () => s.recordOf(1)))
  s.db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  expect(s.fileBytes()).toBeLessThan(fullBytes * 1.1)
  expect(fullBytes / max).toBeLessThan(500)
  expect(first.some(s.isKept)).toBe(false)
  expect(s.isKept(other)).toBe(true)
})

test('payers without end have a bound in common, the oldest go first, and a restart forgets no count', () => {
  using s = setup({ unpaidMax: 50 })
  const records = s.commit(times(80, (who) => s.recordOf(who, { startedAt: day + who })))
  expect(records.map(s.isKept)).toEqual(records.map((_, i) => i >= 30))
  const again = createChargeStore(s.db, identity, signer, { ...noBounds, unpaidMax: 50 })
  again.write([again.seal([s.recordOf(99, { startedAt: day + 99 })])])
  expect(records.filter(s.isKept)).toHaveLength(49)
})

test('what was charged stays however much is not, and so does what a key leads to', () => {
  using s = setup({ unpaidPerPayerMax: 2 })
  const paid = s.commit([s.recordOf(1, { priceUsdc: usdc(5n), outcome: 'answered' })])
  const faultOfOwner = s.commit([s.recordOf(1, { priceUsdc: usdc(5n) })])
  const keyed = s.commit([s.recordOf(1, { outcome: 'payment_failed', key: 'k' })])
  const free = s.commit([s.recordOf(1, { outcome: 'answered' })])
  s.commit(times(100, () => s.recordOf(1)))
  expect([...paid, ...faultOfOwner, ...keyed, ...free].map(s.isKept)).toEqual([true, true, true, true])
})

test('unpaid receipts go when they are old, the newest of all excepted: the next one is counted from it', () => {
  using s = setup({ unpaidAgeMsMax: 30 * day })
  const [old] = s.commit([s.recordOf(1)])
  const [newest] = s.commit([s.recordOf(1, { startedAt: 40 * day })])
  expect([old, newest].map((record) => s.isKept(record!))).toEqual([false, true])
  expect(s.store.readTotals(40 * day).receiptId).toBe(newest?.receiptId)
})

test('paid receipts go when they are old and settled for good, and not a moment before', async () => {
  using s = setup({ paidAgeMsMax: 400 * day })
  const charge = { priceUsdc: usdc(500n), outcome: 'answered' as const }
  const [settled] = s.commit([s.recordOf(1, charge)])
  const batch = await s.settle(1)
  const [unsettled] = s.commit([s.recordOf(1, charge)])
  const [young] = s.commit([s.recordOf(2, { ...charge, startedAt: 300 * day })])
  const kept = () => [settled, unsettled, young].map((record) => s.isKept(record!))
  const passTime = (days: number) => s.commit([s.recordOf(3, { ...charge, startedAt: days * day })])

  passTime(500)
  expect(kept()).toEqual([true, true, true])
  for (const state of ['submitted', 'mined', 'final'] as const) {
    s.batches.saveState(batch!.id, state)
    passTime(501 + ['submitted', 'mined', 'final'].indexOf(state))
    expect(kept()).toEqual([state !== 'final', true, true])
  }
  expect(await s.settle(1, 500n, 1)).toMatchObject({ rows: [{ amountUsdc: 1_000n, calls: 2 }], receipts: 1 })
})

test('who has left nothing but receipts is forgotten with the last of them; who was charged is not', () => {
  using s = setup({ unpaidMax: 5, paidAgeMsMax: 400 * day })
  const accounts = () => Number(s.db.prepare('SELECT count(*) AS n FROM accounts').get()?.['n'])
  s.commit([s.recordOf(1, { priceUsdc: usdc(5n), outcome: 'answered' })])
  s.commit(times(50, (index) => s.recordOf(100 + index, { startedAt: day + index })))
  expect(accounts()).toBe(1 + 5)
  // As strangers come who pay by x402: their wallets are charged, and no grant is.
  const payers = times(50, (index) => {
    const record = s.recordOf(200 + index, { priceUsdc: usdc(5n), outcome: 'answered' })
    const id = { payer: record.receipt.payer, nonce: randomHex() }
    return { ...record, chargedUsdc: zeroUsdc, calls: 0, payment: { id, ending: undefined } }
  })
  s.commit(payers)
  expect(accounts()).toBe(1 + 5 + 50)
  s.commit([s.recordOf(300, { startedAt: 500 * day })])
  // The first is not settled, and the newest receipts of those that fail stay.
  expect(payers.some(s.isKept)).toBe(false)
  expect(accounts()).toBe(1 + 5)
})

test('what is pruned changes no settlement: roots, rows and leaves are those of a ledger that keeps everything', async () => {
  const step = fc.record({
    who: fc.nat(2),
    isPaid: fc.boolean(),
    isOver: fc.boolean(),
    grantUsdc: fc.nat(3_000),
    isAbandoned: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), async (steps) => {
      using all = setup(noBounds)
      using few = setup({ unpaidPerPayerMax: 1, unpaidMax: 2, unpaidAgeMsMax: 1, paidAgeMsMax: 1 })
      let startedAt = day
      for (const { who, isPaid, isOver, grantUsdc, isAbandoned } of steps) {
        startedAt += day
        const outcome = isPaid ? ('answered' as const) : ('program_timeout' as const)
        const record = all.recordOf(who, { priceUsdc: usdc(isPaid ? 400n : 0n), outcome, startedAt })
        few.recordOf(who)
        all.commit([record])
        few.commit([record])
        if (!isOver) continue
        const calls = Math.floor(grantUsdc / 400)
        const made = [
          await all.settle(who, BigInt(grantUsdc), calls),
          await few.settle(who, BigInt(grantUsdc), calls),
        ]
        expect(made[1]).toEqual(made[0])
        const id = made[0]?.id
        if (id === undefined) continue
        expect(await few.batches.readLeaves(id)).toEqual(await all.batches.readLeaves(id))
        for (const { batches } of [all, few]) batches.saveState(id, isAbandoned ? 'abandoned' : 'final')
      }
    }),
    { numRuns: 30 },
  )
})

test('a signature goes with the last of its receipts, and not before', () => {
  using s = setup({ unpaidPerPayerMax: 3 })
  const groups = () => s.db.prepare('SELECT first_receipt FROM receipt_groups ORDER BY 1').all().length
  const mixed = s.commit([s.recordOf(1), s.recordOf(1, { priceUsdc: usdc(5n), outcome: 'answered' })])
  for (let call = 0; call < 20; call += 1) s.commit([s.recordOf(1)])
  expect(mixed.map(s.isKept)).toEqual([false, true])
  // That of the charged call, and those of the newest three that failed.
  expect(groups()).toBe(4)
  expect(s.store.readSignedReceipt(mixed[1]!.receipt.callId)).toBeDefined()
})

test('a settlement takes the leaves that were signed, and hashes receipts of before there were signatures', async () => {
  using s = setup(undefined)
  const paid = { priceUsdc: usdc(5n), outcome: 'answered' } as const
  const charged = [3, 1, 200].flatMap((size) =>
    s.commit(times(size, (index) => s.recordOf(index % 2, paid))).filter((_, index) => index % 2 === 0),
  )
  const batch = await s.settle(0)
  const leaves = charged.map(({ receipt }) => receiptLeaf(receipt))
  expect(await s.batches.readLeaves(batch!.id)).toEqual(leaves)
  s.db.exec('DELETE FROM receipt_groups')
  expect(await s.batches.readLeaves(batch!.id)).toEqual(leaves)
})
