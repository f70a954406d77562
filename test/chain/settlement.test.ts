import { cp } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { limits } from '../../protocol/limits.ts'
import { createMerkleTree, verifyMerkleProof } from '../../protocol/merkle.ts'
import { type Receipt, receiptLeaf } from '../../protocol/receipt.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createProviderMetrics } from '../../provider/metrics.ts'
import type { SettledBatch } from '../../provider/settlement/settle-batch.ts'
import type { Settler } from '../../provider/settlement/settler.ts'
import { advanceUntil } from '../support/clock.ts'
import { claimOf, createTempDir, never, receiptOf, reserve } from '../support/money.ts'
import { logThat, openSettling } from '../support/settling.ts'

const hour = 3_600_000

/** An ether at a million USDC: no settlement of these tests is worth its gas. */
const dearGas = { feeLimit: { percentMax: 5, etherPriceUsdc: usdc(10n ** 12n) } }

const nextSettled = (settler: Settler) => new Promise<SettledBatch>((resolve) => settler.onSettled(resolve))

test('many calls of many payers become one transaction; balances, events and usage root equal the ledger', async () => {
  await using s = await openSettling()
  await using p = await s.start()
  const payers = [await s.createPayer(), await s.createPayer(), await s.createPayer()]
  const receipts: Receipt[][] = []
  for (const [index, payer] of payers.entries()) receipts.push(await p.charge(payer, 10 * (index + 1)))
  const { batches } = await p.settler.settleNow(never)

  expect(batches).toMatchObject([{ paidUsdc: 420n, receipts: 60, skipped: [] }])
  expect(await s.earned()).toBe(420n)
  const settlements = await s.readSettlements()
  expect(settlements.batches).toHaveLength(1)
  expect(new Map(settlements.paid)).toEqual(
    new Map(
      payers.map((payer, index) => {
        const spentUsdc = 70n * BigInt(index + 1)
        return [
          payer,
          { spentUsdc, paidUsdc: spentUsdc, budgetUsdc: 1_000n - spentUsdc, calls: 10 * (index + 1) },
        ]
      }),
    ),
  )

  // Every receipt can be proved against the root that the chain has.
  const root =
    settlements.batches[0]?.eventName === 'BatchSettled' ? settlements.batches[0].args.usageRoot : '0x'
  const leaves = await p.ledger.batches.readLeaves(batches[0]!.id)
  expect(leaves).toHaveLength(60)
  for (const receipt of receipts.flat()) {
    const leaf = receiptLeaf(receipt)
    const index = leaves.indexOf(leaf)
    expect(verifyMerkleProof({ leaf, proof: createMerkleTree(leaves).proof(index), root })).toBe(true)
  }
  expect(p.settler.status().unsettledUsdc).toBe(0n)
  expect(await p.ledger.batches.readOpen()).toEqual([])
})

test('where nothing is due nothing is sent', async () => {
  await using s = await openSettling()
  await using p = await s.start()
  const payer = await s.createPayer()
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })
  await p.charge(payer)
  await p.settler.settleNow(never)
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })
  expect((await s.readSettlements()).batches).toHaveLength(1)
})

test.each(['batch_created', 'transaction_sent', 'transaction_concluded', 'batch_settled'])(
  'a crash right after %s loses nothing and pays nothing twice',
  async (event) => {
    await using s = await openSettling()
    const payer = await s.createPayer()
    const killed = new AbortController()
    {
      const p = await s.start(
        {},
        logThat(event, () => killed.abort(new Error('killed'))),
      )
      await p.charge(payer, 20)
      await expect(p.settler.settleNow(killed.signal)).rejects.toThrow('killed')
      await p.crash()
    }
    await using p = await s.start()
    await p.charge(payer, 5)
    await p.settler.settleNow(never)
    expect(await s.earned()).toBe(175n)
    expect(p.settler.status().unsettledUsdc).toBe(0n)
    expect(await p.ledger.batches.readOpen()).toEqual([])
    const roots = (await s.readSettlements()).batches
    expect(roots.length).toBeLessThanOrEqual(2)
  },
)

test('a ledger that is put back from before the settlement is not paid again, and neither are its rows', async () => {
  await using s = await openSettling()
  const payer = await s.createPayer()
  using backup = createTempDir()
  {
    const p = await s.start()
    await p.charge(payer, 20)
    await p.crash()
  }
  await cp(s.dir, backup.path, { recursive: true })
  {
    await using p = await s.start()
    await p.settler.settleNow(never)
  }
  await cp(backup.path, s.dir, { recursive: true, force: true })
  await using p = await s.start()
  expect(p.settler.status().unsettledUsdc).toBe(0n)
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })
  expect(await s.earned()).toBe(140n)

  const rows = [{ payer, amountUsdc: usdc(140n), calls: 20 }]
  await p.sender.run(escrowCalls(s.chain.escrow).settle(rows, `0x${'00'.repeat(32)}`), never)
  expect((await s.readSettlements()).skipped).toEqual([payer])
  expect(await s.earned()).toBe(140n)
})

test('a payer that revokes is settled at once', async () => {
  await using s = await openSettling()
  await using p = await s.start()
  const payer = await s.createPayer()
  await p.charge(payer, 3)
  const settled = nextSettled(p.settler)
  await s.chain.revoke(payer, s.provider)
  await p.mirror.refresh(never)
  expect(await settled).toMatchObject({ paidUsdc: 21n })
})

test('what was charged before a crash is settled by the next start at once, however long the interval', async () => {
  await using s = await openSettling()
  const first = await s.start()
  await first.charge(await s.createPayer(), 3)
  await first.crash()
  await using p = await s.start()
  expect(await nextSettled(p.settler)).toMatchObject({ paidUsdc: 21n })
})

test('much that has gathered is settled at once', async () => {
  await using s = await openSettling()
  await using p = await s.start({ thresholdUsdc: usdc(70n) })
  const payer = await s.createPayer()
  const settled = nextSettled(p.settler)
  await p.charge(payer, 9)
  expect((await s.readSettlements()).batches).toHaveLength(0)
  await p.charge(payer, 1)
  expect((await settled).paidUsdc).toBe(70n)
})

test('the interval settles by itself, and not before', async () => {
  await using s = await openSettling()
  await using p = await s.start({ intervalMs: 60_000 })
  await p.charge(await s.createPayer(), 2)
  const settled = nextSettled(p.settler)
  await s.clock.advance(59_000)
  expect((await s.readSettlements()).batches).toHaveLength(0)
  await s.clock.advance(1_000)
  expect((await settled).paidUsdc).toBe(14n)
})

test("a grant's last moment to settle is not missed, however long the interval", async () => {
  await using s = await openSettling()
  await using p = await s.start()
  const expiry = Math.floor(s.clock.nowMs() / 1000) + 3_600
  await p.charge(await s.createPayer({ expiry, noticeHours: 1 }), 2)
  const settled = nextSettled(p.settler)
  await s.clock.advance(2 * hour - limits.settleMarginMs - 60_000)
  expect((await s.readSettlements()).batches).toHaveLength(0)
  await s.clock.advance(limits.settleMarginMs / 2)
  expect((await settled).paidUsdc).toBe(14n)
})

test('shutting down settles what is due', async () => {
  await using s = await openSettling()
  {
    await using p = await s.start()
    await p.charge(await s.createPayer(), 4)
  }
  expect(await s.earned()).toBe(28n)
})

test('while the chain is down the settler keeps trying, calls go on, and nothing is lost', async () => {
  await using s = await openSettling()
  await using p = await s.start({ intervalMs: 60_000 })
  const payer = await s.createPayer()
  await p.charge(payer, 4)
  await s.chain.goOffline()
  await expect(p.settler.settleNow(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  const claim = claimOf({
    payer: { kind: 'owner', address: payer },
    grant: p.mirror.grant(payer),
    priceUsdc: usdc(7n),
  })
  await reserve(p.ledger, claim).charge(receiptOf(claim, { provider: s.provider }))
  const settled: SettledBatch[] = []
  p.settler.onSettled((batch) => settled.push(batch))
  await s.chain.goOnline()
  await p.settler.settleNow(never)
  expect(settled.map(({ paidUsdc }) => paidUsdc)).toEqual([28n, 7n])
  expect(await s.earned()).toBe(35n)
})

test('a provider that stops while the chain is down does not wait for it, and settles when it is back', async () => {
  await using s = await openSettling()
  const payer = await s.createPayer()
  {
    await using p = await s.start()
    await p.charge(payer, 4)
    await s.chain.goOffline()
    await expect(p.mirror.refresh(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  }
  await s.chain.goOnline()
  await using p = await s.start()
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(28n)
})

test('more payers and receipts than fit go into several batches', async () => {
  await using s = await openSettling()
  await using p = await s.start({ rowsMax: 2, receiptsMax: 4 })
  const payers = [await s.createPayer(), await s.createPayer(), await s.createPayer()]
  for (const payer of payers) await p.charge(payer, 3)
  const { batches } = await p.settler.settleNow(never)
  expect(batches.map(({ receipts }) => receipts)).toEqual([4, 4, 1])
  for (const { rows } of batches) expect(rows.length).toBeLessThanOrEqual(2)
  expect(await s.earned()).toBe(63n)
})

test('an old debt is collected from a new grant as far as that goes, and skipped rows are not sent again', async () => {
  await using s = await openSettling()
  await using p = await s.start()
  const payer = await s.createPayer({ noticeHours: 1 })
  const terms = { provider: s.provider, noticeHours: 1 }
  await p.charge(payer, 100)
  await s.chain.goOffline()
  await s.chain.revoke(payer, s.provider)
  await s.chain.wait(3_601)
  await s.chain.reclaim(payer, s.provider)
  await s.chain.approve(payer, { ...terms, priceUsdc: 2n, budgetUsdc: 150n })
  await s.chain.goOnline()

  // 100 calls at the new price of 2 are 200 of the 700 owed, and the budget has 150 of them.
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(150n)
  await s.chain.approve(payer, { ...terms, priceUsdc: 2n, budgetUsdc: 400n })
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(200n)
  const before = (await s.readSettlements()).batches.length
  for (let i = 0; i < 3; i += 1) await p.settler.settleNow(never)
  expect((await s.readSettlements()).batches.length).toBe(before)
})

test('a settlement that a re-org took away is offered again until it is mined', async () => {
  await using s = await openSettling()
  const payer = await s.createPayer()
  await using p = await s.start()
  await p.charge(payer, 20)
  const goBack = await s.chain.fork()
  const { batches } = await p.settler.settleNow(never)
  await goBack()
  await s.chain.wait(1)
  await s.chain.mine()
  expect(await s.earned()).toBe(0n)
  // As the ledger has it while the block is not yet safe.
  await p.ledger.batches.saveState(batches[0]!.id, 'mined')
  await p.mirror.refresh(never)
  const settling = p.settler.settleNow(never)
  await advanceUntil(s.clock, settling)
  expect(await s.earned()).toBe(140n)
  expect(await p.ledger.batches.readOpen()).toEqual([])
})

test('while gas would take too much of it a settlement waits, and says so; a revocation does not wait', async () => {
  await using s = await openSettling()
  const log = createTestLog()
  await using p = await s.start({ intervalMs: 60_000, ...dearGas }, log)
  const payer = await s.createPayer()
  await p.charge(payer, 3)
  const count = (name: string) => log.lines.filter(({ event }) => event === name).length
  // Said a second time, the first time has come to nothing.
  while (count('settlement_waits') < 2 && count('batch_created') === 0) {
    await setImmediate()
    await s.clock.advance(1_000)
  }
  expect(count('batch_created')).toBe(0)
  expect((await s.readSettlements()).batches).toHaveLength(0)
  expect(p.settler.status()).toMatchObject({ unsettledUsdc: 21n, failures: 0 })

  const settled = nextSettled(p.settler)
  await s.chain.revoke(payer, s.provider)
  await p.mirror.refresh(never)
  expect((await settled).paidUsdc).toBe(21n)
})

test('a settlement that is worth its gas does not wait', async () => {
  await using s = await openSettling()
  const feeLimit = { percentMax: 99, etherPriceUsdc: usdc(1n) }
  await using p = await s.start({ intervalMs: 60_000, feeLimit })
  await p.charge(await s.createPayer(), 20)
  const settled = nextSettled(p.settler)
  await s.clock.advance(60_000)
  expect((await settled).paidUsdc).toBe(140n)
})

test("neither a grant's last moment nor a shutdown waits for cheaper gas", async () => {
  await using s = await openSettling()
  {
    await using p = await s.start({ intervalMs: 60_000, ...dearGas })
    const expiry = Math.floor(s.clock.nowMs() / 1000) + 3_600
    await p.charge(await s.createPayer({ expiry, noticeHours: 1 }), 2)
    const settled = nextSettled(p.settler)
    await s.clock.advance(2 * hour - limits.settleMarginMs)
    expect((await advanceUntil(s.clock, settled)).paidUsdc).toBe(14n)
    await p.charge(await s.createPayer(), 4)
  }
  expect(await s.earned()).toBe(42n)
})

test('too much owed, or for too long, is told once each, stands in status and metrics, and ends with the settlement', async () => {
  await using s = await openSettling()
  const log = createTestLog()
  await using p = await s.start({ alarmUsdc: usdc(70n), alarmAgeMs: 3 * hour }, log)
  const told = () =>
    log.lines
      .filter(({ event }) => event.startsWith('unsettled_'))
      .map(({ event, facts }) => [event, facts['alarm']])
  const metrics = createProviderMetrics({
    clock: s.clock,
    settler: p.settler.status,
    mirror: p.mirror.status,
    x402: () => undefined,
    tunnel: () => undefined,
    programsRunning: () => 0,
    programsResting: () => 0,
    programRests: () => 0,
  })
  /** What an operator's alarms look at: owed, for how long, and how many limits are passed. */
  const shown = async () => {
    const { text } = await metrics.read()
    return ['usdc', 'age_seconds', 'alarms'].map((name) => {
      const [, value] = new RegExp(`^khachapuri_provider_unsettled_${name} (.*)$`, 'm').exec(text) ?? []
      return Number(value)
    })
  }
  expect(await shown()).toEqual([0, 0, 0])
  const payer = await s.createPayer()
  await p.charge(payer, 9)
  expect(told()).toEqual([])
  expect(await shown()).toEqual([0.000063, 0, 0])
  await p.charge(payer, 1)
  await p.charge(payer, 5)
  expect(told()).toEqual([['unsettled_alarm', 'value']])
  expect(p.settler.status()).toMatchObject({ unsettledUsdc: 105n, alarms: ['value'] })
  expect(await shown()).toEqual([0.000105, 0, 1])

  const since = p.settler.status().unsettledSinceMs
  await s.clock.advance(3 * hour)
  expect(told()).toContainEqual(['unsettled_alarm', 'age'])
  expect(p.settler.status()).toMatchObject({ alarms: ['value', 'age'], unsettledSinceMs: since })
  expect(await shown()).toEqual([0.000105, (3 * hour) / 1000, 2])
  await p.settler.settleNow(never)
  expect(told().slice(2)).toEqual([
    ['unsettled_alarm_ended', 'value'],
    ['unsettled_alarm_ended', 'age'],
  ])
  expect(p.settler.status()).toMatchObject({ alarms: [], unsettledSinceMs: undefined })
  expect(await shown()).toEqual([0, 0, 0])
})
