import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { createSpendBook, type Spend, spendsSchema } from './spend-book.ts'
import { createTokenBuckets } from './token-buckets.ts'

/** Gateways that count one quota together. */
const quota = { requests: 4, windowSeconds: 2 }
const windowMs = quota.windowSeconds * 1000

function openGateways(count: number) {
  const clock = createTestClock()
  const gateways = Array.from({ length: count }, () => ({
    buckets: createTokenBuckets({ clock }, quota, 10),
    book: createSpendBook({ onUntold: () => expect.unreachable('there is place') }),
  }))
  type Gateway = (typeof gateways)[number]
  return {
    clock,
    gateways,
    ask({ buckets, book }: Gateway, key = 'a'): boolean {
      const { isTaken } = buckets.take(key)
      if (isTaken) book.note('client', key)
      return isTaken
    },
    tell(teller: Gateway): void {
      const spends = spendsSchema.parse(JSON.parse(JSON.stringify(teller.book.take())))
      for (const other of gateways.filter((gateway) => gateway !== teller))
        for (const [, key, tokens] of spends) other.buckets.charge(key, tokens)
    },
  }
}

const steps = (gateways: number) =>
  fc.array(
    fc.record({
      at: fc.nat({ max: gateways - 1 }),
      waitMs: fc.oneof({ weight: 50, arbitrary: fc.nat({ max: 60 }) }, fc.nat({ max: 3 * windowMs })),
      tells: fc.nat({ max: 19 }).map((die) => die === 0),
    }),
    { maxLength: 300, size: 'max' },
  )

test('gateways that hear of each call at once decide as one would', () =>
  fc.assert(
    fc.asyncProperty(steps(3), async (calls) => {
      const { clock, gateways, ask, tell } = openGateways(3)
      const alone = createTokenBuckets({ clock }, quota, 10)
      for (const { at, waitMs } of calls) {
        await clock.advance(waitMs)
        const gateway = gateways[at]!
        expect(ask(gateway)).toBe(alone.take('a').isTaken)
        tell(gateway)
      }
    }),
    { numRuns: 60 },
  ))

test('whenever they tell, no more is let through than the quota and what had not been heard yet', () =>
  fc.assert(
    fc.asyncProperty(steps(3), async (calls) => {
      const { clock, gateways, ask, tell } = openGateways(3)
      const takenMs: number[] = []
      const unheard = gateways.map(() => 0)
      for (const { at, waitMs, tells } of calls) {
        await clock.advance(waitMs)
        const gateway = gateways[at]!
        if (ask(gateway)) {
          const nowMs = clock.monotonicMs()
          takenMs.push(nowMs)
          for (const [other, count] of unheard.entries()) if (other !== at) unheard[other] = count + 1
          for (const [index, sinceMs] of takenMs.entries()) {
            const share = (quota.requests * (nowMs - sinceMs)) / windowMs
            const taken = takenMs.length - index
            expect(taken).toBeLessThanOrEqual(quota.requests + share + unheard[at]! + 1e-6)
          }
        }
        if (!tells) continue
        gateways.forEach(tell)
        unheard.fill(0)
      }
    }),
    { numRuns: 100 },
  ))

test('whoever stays within the quota is refused nowhere, where they tell often enough', () =>
  fc.assert(
    fc.asyncProperty(steps(3), async (calls) => {
      const { clock, gateways, ask, tell } = openGateways(3)
      let toldMs = clock.monotonicMs()
      for (const { at, waitMs, tells } of calls) {
        // As fast as tokens come back.
        await clock.advance(waitMs + windowMs / quota.requests)
        expect(ask(gateways[at]!)).toBe(true)
        if (!tells && clock.monotonicMs() - toldMs < windowMs / 2) continue
        gateways.forEach(tell)
        toldMs = clock.monotonicMs()
      }
    }),
    { numRuns: 60 },
  ))

test('what is owed is remembered longer than a window, and forgiven beyond a bound', async () => {
  const { clock, gateways } = openGateways(1)
  const { buckets } = gateways[0]!
  buckets.charge('a', 4 * quota.requests)
  for (let window = 1; window <= 3; window++) {
    expect(buckets.take('a')).toMatchObject({ isTaken: false, remaining: 0 })
    await clock.advance(windowMs)
  }
  await clock.advance(windowMs / quota.requests)
  expect(buckets.take('a').isTaken).toBe(true)
  expect(buckets.take('b')).toMatchObject({ isTaken: true, remaining: 3 })
  buckets.charge('b', limits.spendTokensMax)
  expect(buckets.look('b').resetMs).toBe(windowMs * (1 + limits.quotaDebtWindowsMax))
  await clock.advance(windowMs * (1 + limits.quotaDebtWindowsMax))
  expect(buckets.take('b')).toMatchObject({ isTaken: true, remaining: 3 })
  expect(buckets.size).toBeLessThanOrEqual(2)
})

test('all that is noted is told once, the most first, in pieces that are bounded; what finds no place is counted', () => {
  const names = fc.constantFrom('client' as const, 'deployment' as const)
  const key = fc.nat({ max: 2 * limits.spendKeysMax }).map(String)
  fc.assert(
    fc.property(
      fc.array(fc.tuple(names, key), { maxLength: 400 }),
      fc.nat({ max: 9_000 }),
      (noted, flood) => {
        let untold = 0
        const book = createSpendBook({ onUntold: () => void untold++ })
        const all = [...noted, ...Array.from({ length: flood }, (_, n) => ['client', `flood ${n}`] as const)]
        for (const [name, one] of all) book.note(name, one)
        const told: Spend[] = []
        for (let spends = book.take(); spends.length > 0; spends = book.take()) {
          expect(spendsSchema.safeParse(spends).success).toBe(true)
          told.push(...spends)
        }
        expect(told.length).toBeLessThanOrEqual(limits.spendKeysMax)
        expect(new Set(told.map(([name, one]) => `${name} ${one}`)).size).toBe(told.length)
        expect(told.reduce((sum, [, , tokens]) => sum + tokens, 0) + untold).toBe(all.length)
        if (told.length > limits.spendsToldMax) {
          const tokens = told.map(([, , one]) => one)
          expect(Math.min(...tokens.slice(0, limits.spendsToldMax))).toBeGreaterThanOrEqual(
            Math.max(...tokens.slice(limits.spendsToldMax)),
          )
        }
      },
    ),
    { numRuns: 30 },
  )
})

test.each([
  ['a quota that is none', [['requests', 'a', 1]]],
  ['no tokens', [['client', 'a', 0]]],
  ['half a token', [['client', 'a', 0.5]]],
  ['what comes back', [['client', 'a', -1]]],
  ['a long key', [['client', 'a'.repeat(limits.spendKeyCharsMax + 1), 1]]],
  ['too many at once', Array(limits.spendsToldMax + 1).fill(['client', 'a', 1])],
])('%s is no word of a gateway', (_what, spends) => {
  expect(spendsSchema.safeParse(spends).success).toBe(false)
})
