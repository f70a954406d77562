import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import { chargeCall, createTempDir, openTestLedger, payer, provider } from '../../test/support/money.ts'
import { claimable } from './batches.ts'
import { meteredLane } from './lanes.ts'

const amount = (max: bigint) => fc.bigInt({ min: 0n, max }).map(usdc)
const count = fc.integer({ min: 0, max: 1_000 })

test('what is claimed is never more than is owed, and never so much that the escrow would skip it', () => {
  fc.assert(
    fc.property(
      fc.record({ amountUsdc: amount(10_000n), calls: count }),
      fc.record({ spentUsdc: amount(10_000n), calls: count, priceUsdc: amount(20n) }),
      (total, grant) => {
        const row = claimable(total, grant)
        const capUsdc = grant.spentUsdc + grant.priceUsdc * BigInt(Math.max(0, total.calls - grant.calls))
        const due = total.amountUsdc < capUsdc ? total.amountUsdc : capUsdc
        if (!row) {
          // Nothing that the escrow would have paid was left out.
          expect(due <= grant.spentUsdc || total.calls <= grant.calls).toBe(true)
          return
        }
        expect(row.calls).toBe(total.calls)
        expect(row.amountUsdc).toBe(due as Usdc)
        expect(row.amountUsdc).toBeGreaterThan(grant.spentUsdc)
      },
    ),
    { numRuns: 500 },
  )
})

test('of a voucher’s lane nothing is claimed that was not signed for', () => {
  fc.assert(
    fc.property(
      fc.record({ amountUsdc: amount(10_000n), calls: count }),
      fc.record({ maxAmount: amount(10_000n), maxCalls: count }),
      (total, signed) => {
        const voucher = {
          voucher: { payer, provider, epoch: 0, ...signed },
          signer: payer,
          signature: `0x${'00'.repeat(65)}` as const,
        }
        const grant = { spentUsdc: usdc(0n), calls: 0, priceUsdc: usdc(20_000n), voucher }
        const row = claimable(total, grant)
        expect(row?.amountUsdc ?? 0n).toBeLessThanOrEqual(signed.maxAmount)
        expect(row?.calls ?? 0).toBeLessThanOrEqual(signed.maxCalls)
      },
    ),
    { numRuns: 500 },
  )
})

test('the receipts of a settlement that no block will ever have are under the root of the next one', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  for (let calls = 0; calls < 3; calls += 1) await chargeCall(ledger)
  const candidate = { ...meteredLane(payer), voucher: undefined, spentUsdc: usdc(0n), calls: 0 }
  const order = { candidates: [{ ...candidate, priceUsdc: usdc(1_000n) }], receiptsMax: 100 }
  const lost = await ledger.batches.create(order)
  await ledger.batches.saveState(lost?.id ?? 0, 'abandoned')
  await chargeCall(ledger)
  const next = await ledger.batches.create(order)
  expect([lost?.receipts, next?.receipts]).toEqual([3, 4])
  const leavesOf = (id = 0) => ledger.batches.readLeaves(id)
  expect((await leavesOf(next?.id)).slice(0, 3)).toEqual(await leavesOf(lost?.id))
})
