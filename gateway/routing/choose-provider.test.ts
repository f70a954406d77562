import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import type { Standing } from '../reputation/standing.ts'
import { type Candidate, chooseProvider, costOf, costsAlikeFactor } from './choose-provider.ts'
import { circuitOf, type ProviderHealth, unknownHealth } from './provider-health.ts'

const nowMs = 100_000
const price = fc.bigInt({ min: 0n, max: 1_000n }).map((amount) => usdc(amount) as Usdc)
const maybe = <T>(some: fc.Arbitrary<T>) => fc.option(some, { nil: undefined })
const moment = fc.constantFrom(0, nowMs - 20_000, nowMs - 5_000, nowMs, nowMs + 5_000)

const health: fc.Arbitrary<ProviderHealth> = fc.record({
  callsInFlight: fc.nat({ max: 100 }),
  latencyMs: maybe(fc.double({ min: 0, max: 10_000, noNaN: true })),
  latencyAtMs: fc.constantFrom(0, nowMs - 10_000, nowMs),
  failuresInRow: fc.nat({ max: 5 }),
  brokenUntilMs: moment,
  breaks: fc.nat({ max: 5 }),
  isTried: fc.boolean(),
  recoveredAtMs: maybe(moment),
  priceUsdc: maybe(price),
  busyUntilMs: moment,
})
const standing: fc.Arbitrary<Standing> = fc.constantFrom(
  { lots: 1, record: 'good' },
  { lots: 0.5, record: 'new' },
  { lots: 0.02, record: 'poor' },
)
const newcomer: Standing = { lots: 0.5, record: 'new' }
const candidate: fc.Arbitrary<Candidate> = fc.record({
  health,
  standing,
  isTried: fc.boolean(),
  hasRefused: fc.boolean(),
})
const candidates = fc.array(candidate, { maxLength: 8 })
const draws = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
  minLength: 4,
  maxLength: 4,
})
const drawing = (numbers: readonly number[]) => {
  let at = 0
  return () => numbers[at++ % numbers.length]!
}

const mayTake = ({ health: h }: Candidate, priceUsdcMax: Usdc | undefined): boolean =>
  (priceUsdcMax === undefined || h.priceUsdc === undefined || h.priceUsdc <= priceUsdcMax) &&
  (circuitOf(h, nowMs) === 'closed' || (circuitOf(h, nowMs) === 'half_open' && !h.isTried))

test('whoever is chosen is in order or may be tried, within the price, and was not tried before', () => {
  fc.assert(
    fc.property(candidates, maybe(price), draws, (all, priceUsdcMax, numbers) => {
      const choice = chooseProvider(all, { nowMs, priceUsdcMax, random: drawing(numbers) })
      const possible = all.filter((one) => !one.isTried && mayTake(one, priceUsdcMax))
      if (choice.kind === 'chosen') expect(possible).toContain(all[choice.index])
      else expect(possible).toEqual([])
    }),
  )
})

test('nobody who would refuse gets the call while somebody would take it, nor one that was broken', () => {
  fc.assert(
    fc.property(candidates, draws, (all, numbers) => {
      const choice = chooseProvider(all, { nowMs, priceUsdcMax: undefined, random: drawing(numbers) })
      if (choice.kind !== 'chosen') return
      const rankOf = (one: Candidate): number => {
        if (one.hasRefused || one.health.busyUntilMs > nowMs) return 2
        return circuitOf(one.health, nowMs) === 'closed' ? 0 : 1
      }
      const possible = all.filter((one) => !one.isTried && mayTake(one, undefined))
      expect(rankOf(all[choice.index]!)).toBe(Math.min(...possible.map(rankOf)))
    }),
  )
})

test('of two that are equally willing, one with more than twice as much to do is never chosen', () => {
  fc.assert(
    fc.property(health, health, draws, (one, other, numbers) => {
      const sound = [one, other].map((h) => ({
        health: { ...h, brokenUntilMs: 0, busyUntilMs: 0 },
        standing: newcomer,
        isTried: false,
        hasRefused: false,
      }))
      const choice = chooseProvider(sound, { nowMs, priceUsdcMax: undefined, random: drawing(numbers) })
      const costs = sound.map((c) => costOf(c.health, nowMs))
      const chosen = choice.kind === 'chosen' ? costs[choice.index]! : Number.POSITIVE_INFINITY
      expect(chosen).toBeLessThanOrEqual(costsAlikeFactor * Math.min(...costs))
    }),
  )
})

test('those who are alike share the calls; who was slow long ago is tried again', () => {
  const sound = (changes: Partial<ProviderHealth>): Candidate => ({
    health: { ...unknownHealth, latencyAtMs: nowMs, ...changes },
    standing: newcomer,
    isTried: false,
    hasRefused: false,
  })
  const chosenOf = (all: readonly Candidate[]) => {
    const draws = [0, 0.2, 0.4, 0.6, 0.8, 0.99]
    const choices = draws.map((draw) =>
      chooseProvider(all, { nowMs, priceUsdcMax: undefined, random: () => draw }),
    )
    return [...new Set(choices.map((choice) => choice.kind === 'chosen' && choice.index))].sort()
  }
  expect(chosenOf([sound({ latencyMs: 10 }), sound({ latencyMs: 15 }), sound({ latencyMs: 12 })])).toEqual([
    0, 1, 2,
  ])
  expect(chosenOf([sound({ latencyMs: 10 }), sound({ latencyMs: 500 })])).toEqual([0])
  expect(chosenOf([sound({ latencyMs: 10 }), sound({ latencyMs: 500, latencyAtMs: 0 })])).toEqual([0, 1])
})

test('why nobody gets it is told: all tried, too dear, or broken and until when', () => {
  const facts = { nowMs, priceUsdcMax: usdc(5n) as Usdc, random: () => 0 }
  const one = (changes: Partial<ProviderHealth>, isTried = false): Candidate => ({
    health: { ...unknownHealth, ...changes },
    standing: newcomer,
    isTried,
    hasRefused: false,
  })
  expect(chooseProvider([], facts)).toEqual({ kind: 'none' })
  expect(chooseProvider([one({}, true)], facts)).toEqual({ kind: 'none' })
  expect(chooseProvider([one({ priceUsdc: usdc(6n) })], facts)).toEqual({ kind: 'too_dear' })
  const broken = [one({ brokenUntilMs: nowMs + 900 }), one({ brokenUntilMs: nowMs + 300 })]
  expect(chooseProvider(broken, facts)).toEqual({ kind: 'broken', retryAfterMs: 300 })
})

/** How many of evenly spread draws each gets, in order and idle. */
function sharesOf(all: readonly Pick<Candidate, 'standing' | 'health'>[]): number[] {
  const draws = 1_000
  const counts = all.map(() => 0)
  const candidates = all.map((one) => ({ ...one, isTried: false, hasRefused: false }))
  for (let n = 0; n < draws; n += 1) {
    const random = () => (n + 0.5) / draws
    const choice = chooseProvider(candidates, { nowMs, priceUsdcMax: undefined, random })
    if (choice.kind === 'chosen') counts[choice.index]! += 1
  }
  return counts.map((count) => count / draws)
}
const idle = (lots: number, priceUsdc?: bigint): Candidate => ({
  health: { ...unknownHealth, priceUsdc: priceUsdc === undefined ? undefined : usdc(priceUsdc) },
  standing: { lots, record: lots === 0 ? 'cheat' : 'new' },
  isTried: false,
  hasRefused: false,
})

test('a good record and a low price are more calls, and a newcomer has its share', () => {
  const [known, fresh] = sharesOf([idle(1), idle(0.5)])
  expect([known, fresh]).toEqual([expect.closeTo(2 / 3, 2), expect.closeTo(1 / 3, 2)])
  const [cheap, dear, dearest] = sharesOf([idle(0.5, 100n), idle(0.5, 200n), idle(0.5, 100_000n)])
  expect(cheap).toBeGreaterThan(1.9 * dear!)
  // However dear it is, within what the caller pays.
  expect(dearest).toBeGreaterThan(0.1)
  const [poor] = sharesOf([idle(0.02), idle(0.5), idle(0.5)])
  expect(poor).toBeLessThan(0.03)
})

test('who was caught gets nothing while anybody else is in order, and the call where nobody is', () => {
  fc.assert(
    fc.property(fc.array(candidate, { minLength: 1, maxLength: 6 }), draws, (others, numbers) => {
      const cheat = { ...idle(0), health: { ...unknownHealth, priceUsdc: usdc(0n) } }
      const facts = { nowMs, priceUsdcMax: undefined, random: drawing(numbers) }
      const choice = chooseProvider([cheat, ...others], facts)
      const possible = others.filter((one) => !one.isTried && mayTake(one, undefined))
      expect([choice.kind, choice.kind === 'chosen' && choice.index === 0]).toEqual([
        'chosen',
        possible.length === 0,
      ])
    }),
  )
  expect(sharesOf([idle(0), idle(0)])).toEqual([0.5, 0.5])
})

test('why it was that one is told with its part of the lots, whatever the lots are', () => {
  fc.assert(
    fc.property(candidates, draws, (all, numbers) => {
      const choice = chooseProvider(all, { nowMs, priceUsdcMax: undefined, random: drawing(numbers) })
      if (choice.kind !== 'chosen') return
      const { share, among, why, record } = choice.reason
      expect(share).toBeGreaterThan(0)
      expect(share).toBeLessThanOrEqual(1)
      expect(why === 'only_one').toBe(among === 1)
      expect(record).toBe(all[choice.index]!.standing.record)
    }),
  )
})
