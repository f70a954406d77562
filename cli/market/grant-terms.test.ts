import fc from 'fast-check'
import { zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import type { Grant } from '../../protocol/grant.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import { chooseTerms, isAsGood, parseTermFlags } from './grant-terms.ts'

const nowSeconds = 1_700_000_000
const amount = fc.bigInt({ min: 1n, max: 2n ** 40n - 1n }).map((value): Usdc => usdc(value))
const wantedTerms = fc.record({
  priceUsdc: amount,
  budgetUsdc: amount,
  expirySeconds: fc.option(fc.integer({ min: 1, max: 10 ** 9 }), { nil: undefined }),
  noticeHours: fc.option(fc.integer({ min: 1, max: 255 }), { nil: undefined }),
})
const openGrant = fc
  .record({
    priceUsdc: amount,
    budgetUsdc: amount,
    expiry: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    noticeHours: fc.integer({ min: 1, max: 255 }),
  })
  .map((terms): Grant => {
    const parties = { payer: zeroAddress, provider: zeroAddress, signer: zeroAddress }
    return { ...parties, spentUsdc: usdc(0n), calls: 0, epoch: 0, ...terms }
  })

test('whatever is wanted, no term of an open grant is cut, and each is at least what was wanted', () => {
  fc.assert(
    fc.property(wantedTerms, fc.option(openGrant, { nil: undefined }), (wanted, open) => {
      const chosen = chooseTerms(wanted, { open, nowSeconds })
      for (const least of [wanted, open ?? wanted]) {
        expect(chosen.priceUsdc >= least.priceUsdc).toBe(true)
        expect(chosen.budgetUsdc >= least.budgetUsdc).toBe(true)
      }
      expect(chosen.expiry).toBeGreaterThanOrEqual(
        Math.max(open?.expiry ?? 0, nowSeconds + (wanted.expirySeconds ?? 0)),
      )
      expect(chosen.noticeHours).toBeGreaterThanOrEqual(
        Math.max(open?.noticeHours ?? 0, wanted.noticeHours ?? 0),
      )
    }),
  )
})

test('asking for the same again changes nothing', () => {
  fc.assert(
    fc.property(wantedTerms, openGrant, (wanted, open) => {
      const once = { ...open, ...chooseTerms(wanted, { open, nowSeconds }) }
      expect(isAsGood(once, chooseTerms(wanted, { open: once, nowSeconds }))).toBe(true)
    }),
  )
})

test('without an open grant the defaults are 30 days and 48 hours', () => {
  const wanted = {
    priceUsdc: usdc(1n),
    budgetUsdc: usdc(2n),
    ...parseTermFlags({ expiry: undefined, notice: undefined }),
  }
  expect(chooseTerms(wanted, { open: undefined, nowSeconds })).toEqual({
    priceUsdc: 1n,
    budgetUsdc: 2n,
    expiry: nowSeconds + 30 * 86_400,
    noticeHours: 48,
  })
})
