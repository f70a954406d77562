import fc from 'fast-check'
import { getAddress, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { decideGrant, type Grant } from './grant.ts'
import { limits } from './limits.ts'
import { decideOwnerPays } from './owner.ts'
import { usdc } from './usdc.ts'

const address = getAddress(`0x${'a1'.repeat(20)}`)
const openGrant: Grant = {
  payer: address,
  provider: address,
  signer: zeroAddress,
  spentUsdc: usdc(0n),
  budgetUsdc: usdc(10n),
  priceUsdc: usdc(1n),
  calls: 0,
  expiry: 2 ** 32 - 1,
  noticeHours: 48,
  epoch: 0,
}
const amount = fc.bigInt({ min: 0n, max: 2n ** 62n }).map(usdc)

test('whatever the facts, a covered call fits price cap, budget and expiry', () => {
  fc.assert(
    fc.property(
      amount,
      amount,
      amount,
      amount,
      amount,
      fc.nat(),
      fc.nat(),
      (spentUsdc, budgetUsdc, capUsdc, owedUsdc, priceUsdc, expiry, nowSeconds) => {
        const grant: Grant = { ...openGrant, spentUsdc, budgetUsdc, priceUsdc: capUsdc, expiry }
        const { kind } = decideGrant({ grant, owedUsdc, priceUsdc, nowSeconds })
        const fits =
          priceUsdc <= capUsdc && owedUsdc + priceUsdc <= spentUsdc + budgetUsdc && nowSeconds + 5 < expiry
        expect(kind === 'covers').toBe(fits)
      },
    ),
  )
  expect(decideGrant({ grant: undefined, owedUsdc: usdc(0n), priceUsdc: usdc(0n), nowSeconds: 0 })).toEqual({
    kind: 'missing',
  })
})

test('a grant counts while the chain is away for less than its notice, and some time to settle', () => {
  const verdictAfter = (chainLostSeconds: number) => {
    const facts = { owedUsdc: usdc(0n), priceUsdc: usdc(1n), nowSeconds: 0, chainLostSeconds }
    return decideGrant({ grant: openGrant, ...facts }).kind
  }
  const lastSeconds = 48 * 3600 - limits.settleMarginMs / 1000
  expect([0, lastSeconds, lastSeconds + 1].map(verdictAfter)).toEqual(['covers', 'covers', 'unseen'])
})

test('a grant counts where its notice is as long as its provider needs, or longer', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 1, max: 255 }),
      (noticeHours, noticeHoursMin) => {
        const { kind } = decideGrant({
          grant: { ...openGrant, noticeHours },
          owedUsdc: usdc(0n),
          priceUsdc: usdc(1n),
          nowSeconds: 0,
          noticeHoursMin,
        })
        expect(kind).toBe(noticeHours < noticeHoursMin ? 'notice_too_short' : 'covers')
      },
    ),
  )
})

test('an owner pays within its caps, and only for the origins it named', () => {
  const facts = {
    policy: {
      ownerPays: { maxUsdcPerDay: usdc(100n), maxCallsPerMinute: 2 },
      origins: ['https://a.example'],
    },
    usage: { spentTodayUsdc: usdc(50n), callsThisMinute: 1 },
    priceUsdc: usdc(50n),
    origin: 'https://a.example',
  }
  expect(decideOwnerPays(facts).kind).toBe('pays')
  expect(decideOwnerPays({ ...facts, priceUsdc: usdc(51n) }).kind).toBe('day_cap_reached')
  expect(decideOwnerPays({ ...facts, usage: { ...facts.usage, callsThisMinute: 2 } }).kind).toBe(
    'minute_cap_reached',
  )
  expect(decideOwnerPays({ ...facts, origin: undefined }).kind).toBe('origin_not_allowed')
})
