import { copyFileSync, cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { usdc } from '../../protocol/usdc.ts'
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
import { encodeGroup } from './group-wire.ts'
import { openPendingGroups } from './pending-groups.ts'
import type { ChargeRecord } from './records.ts'
import { openDatabase } from './schema.ts'
import { createChargeStore } from './store.ts'

const identity = { provider, market }
const signer = await createTestSigner()

function openAll(dir: string) {
  const db = openDatabase(dir, identity)
  const store = createChargeStore(db, identity, signer)
  const groups = openPendingGroups({ db, store }, dir)
  return {
    store,
    groups,
    /** As a kill does: nothing is put in order. */
    [Symbol.dispose]() {
      groups[Symbol.dispose]()
      db.close()
    },
  }
}

function createRecords() {
  let receiptId = 0
  const totals = new Map<number, number>()
  const recordOf = (who: number, key?: string): ChargeRecord => {
    receiptId += 1
    const calls = (totals.get(who) ?? 0) + 1
    totals.set(who, calls)
    const claim = claimOf({ payer: { kind: 'owner', address: addressOf(0x100 + who) } })
    return {
      ...{ receiptId, receipt: receiptOf(claim), chargedUsdc: usdc(BigInt(calls) * 500n), calls },
      ...{ pass: undefined, ownerUsage: undefined },
      key:
        key === undefined ? undefined : { key, requestDigest: randomHex(), storedAtMs: 0, answer: undefined },
    }
  }
  return { recordOf, totals }
}

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      who: fc.array(fc.nat(2), { minLength: 1, maxLength: 5 }),
      isKeyed: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('apply' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('kill' as const) }) },
)

test('every group that was committed is in the tables once, with its receipts as they were signed, wherever it was killed', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
      using dir = createTempDir()
      const { recordOf, totals } = createRecords()
      const committed = new Map<ChargeRecord, string>()
      let all = openAll(dir.path)
      for (const { kind, ...rest } of steps) {
        if (kind === 'apply') all.groups.apply()
        else if (kind === 'kill') {
          all[Symbol.dispose]()
          all = openAll(dir.path)
        } else if ('who' in rest) {
          const records = rest.who.map((who) => recordOf(who, rest.isKeyed ? randomHex() : undefined))
          const receipts = all.groups.commit(encodeGroup(records))
          for (const [index, record] of records.entries()) committed.set(record, receipts[index] as string)
        }
      }
      all[Symbol.dispose]()
      using again = openAll(dir.path)
      for (const [{ receipt }, signed] of committed) {
        expect(again.store.readReceipt(receipt.callId)).toEqual(receipt)
        expect(again.store.readSignedReceipt(receipt.callId)).toBe(signed)
      }
      const { accounts, receiptId } = again.store.readTotals(0)
      expect(receiptId).toBe(committed.size)
      const calls = new Map(accounts.map((account) => [account.payer, account.calls]))
      expect(calls).toEqual(new Map([...totals].map(([who, count]) => [addressOf(0x100 + who), count])))
    }),
    { numRuns: 25 },
  )
})

test('entries that the tables have are void, also where the file still holds them, and in a ledger made anew', () => {
  using dir = createTempDir()
  const { recordOf } = createRecords()
  const path = join(dir.path, 'ledger.groups')
  {
    using all = openAll(dir.path)
    all.groups.commit(encodeGroup([recordOf(1), recordOf(2)]))
    copyFileSync(path, join(dir.path, 'before'))
  }
  openAll(dir.path)[Symbol.dispose]()
  copyFileSync(join(dir.path, 'before'), path)
  {
    using all = openAll(dir.path)
    expect(all.store.readTotals(0).receiptId).toBe(2)
    all.groups.commit(encodeGroup([recordOf(1)]))
  }
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(dir.path, `ledger.sqlite${suffix}`), { force: true })
  using fresh = openAll(dir.path)
  expect(fresh.store.readTotals(0)).toMatchObject({ receiptId: 0, accounts: [] })
})

test('a machine that loses its power between the file and the tables loses no group: a copy taken then has them', () => {
  using dir = createTempDir()
  using copy = createTempDir()
  const { recordOf } = createRecords()
  using all = openAll(dir.path)
  const records = Array.from({ length: 300 }, () => recordOf(1))
  for (const record of records) {
    all.groups.commit(encodeGroup([record]))
    if (all.groups.isDue) all.groups.apply()
  }
  expect(all.groups.isEmpty).toBe(false)
  cpSync(dir.path, copy.path, { recursive: true })
  using again = openAll(copy.path)
  expect(records.filter(({ receipt }) => !again.store.readReceipt(receipt.callId))).toEqual([])
})
