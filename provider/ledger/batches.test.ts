import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import { claimable } from './batches.ts'

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
