import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { usdc } from '../../protocol/usdc.ts'
import { waysToPay } from './refusals.ts'
import { takesVouchers } from './takes-vouchers.ts'

const escrow = getAddress(`0x${'e5'.repeat(20)}`)

test('vouchers pay where there is no real money, and are offered nowhere else', () => {
  for (const [chainId, isTaken] of [
    [31_337, true],
    [8453, false],
    [84_532, false],
    [1, false],
  ] as const) {
    const market = { chainId, escrow }
    expect(takesVouchers(market)).toBe(isTaken)
    const ways = waysToPay({ provider: escrow, name: 'alice', market, priceUsdc: usdc(1n) }).map(
      ({ way }) => way,
    )
    expect(ways.includes('voucher')).toBe(isTaken)
  }
})
