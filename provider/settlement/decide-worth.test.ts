import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { decideWorth } from './decide-worth.ts'

const limit = { percentMax: 5, etherPriceUsdc: parseUsdc('3000') }
const gwei = 10n ** 9n

test('a settlement is worth its gas from the value on of which the fee is the share that the provider allows', () => {
  // 29,000 gas at 0.01 gwei are 2.9e-7 ether, 870 base units; they are 5 % of 17,400.
  const facts = { rows: 1, gasPriceWei: gwei / 100n }
  const { feeUsdc } = decideWorth({ ...facts, valueUsdc: usdc(1n) }, limit)
  const least = feeUsdc * 20n
  expect(decideWorth({ ...facts, valueUsdc: usdc(least) }, limit).isWorthIt).toBe(true)
  expect(decideWorth({ ...facts, valueUsdc: usdc(least - 1n) }, limit).isWorthIt).toBe(false)
})

test('more value, cheaper gas or a larger share never make a settlement less worth', () => {
  const facts = fc.record({
    valueUsdc: fc.bigInt(0n, 10n ** 12n).map(usdc),
    rows: fc.integer({ min: 1, max: 1_000 }),
    gasPriceWei: fc.bigInt(1n, 1_000n * gwei),
  })
  fc.assert(
    fc.property(facts, fc.integer({ min: 1, max: 99 }), (f, percentMax) => {
      if (!decideWorth(f, { ...limit, percentMax }).isWorthIt) return
      expect(
        decideWorth({ ...f, valueUsdc: usdc(f.valueUsdc + 1n) }, { ...limit, percentMax }).isWorthIt,
      ).toBe(true)
      expect(decideWorth({ ...f, gasPriceWei: f.gasPriceWei / 2n }, { ...limit, percentMax }).isWorthIt).toBe(
        true,
      )
      expect(decideWorth(f, { ...limit, percentMax: percentMax + 1 }).isWorthIt).toBe(true)
    }),
  )
})
