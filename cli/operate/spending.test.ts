import { expect, test } from 'vitest'
import { parseSpending } from './spending.ts'

test('what a provider pays for gas is read in gwei, percent and USDC, and nothing is limited that was not asked for', () => {
  const flags = {
    'max-gas-price': '0.05',
    'max-fee-percent': '5',
    'ether-price': '3000',
    'alarm-value': '10',
    'alarm-age': '30m',
  }
  expect(parseSpending(flags)).toEqual({
    gasPriceWeiMax: 50_000_000n,
    feeLimit: { percentMax: 5, etherPriceUsdc: 3_000_000_000n },
    alarmUsdc: 10_000_000n,
    alarmAgeMs: 1_800_000,
  })
  expect(parseSpending({})).toEqual({})
})

test.each([
  { 'max-fee-percent': '5' },
  { 'ether-price': '3000' },
  { 'max-fee-percent': '0', 'ether-price': '3000' },
  { 'max-gas-price': '-1' },
  { 'max-gas-price': '1e9' },
  { 'alarm-value': 'much' },
])('%j is refused with a hint', (flags) => {
  expect(() => parseSpending(flags)).toThrow(expect.objectContaining({ hint: expect.any(String) }))
})
