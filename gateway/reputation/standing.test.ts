import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decideStanding, lotsOfNewcomer, type ServiceFacts, unknownService } from './standing.ts'

const usdc = 1_000_000n
const paid = (
  counted: bigint,
  weight: bigint,
  rating?: { meanMilli: bigint; counted: bigint },
): ServiceFacts => ({
  ...unknownService,
  reputation: {
    counted,
    weight,
    ratings: { count: rating ? 1 : 0, meanMilli: null, counted: 0n, ...rating },
  },
})

test('a newcomer has half of the lots of whom everybody pays, and money raises them slowly', () => {
  expect(decideStanding(unknownService)).toEqual({ lots: lotsOfNewcomer, record: 'new' })
  const lots = [0n, 100n, 10_000n, 1_000_000n].map((weight) => decideStanding(paid(usdc, weight)).lots)
  expect(lots).toEqual([0.5, expect.closeTo(0.505, 3), 0.75, expect.closeTo(0.995, 3)])
  expect(decideStanding(paid(usdc, 10_000n)).record).toBe('good')
})

test('a complaint counts by what its payer paid: the price of a call ruins nobody', () => {
  const worst = (counted: bigint) => ({ meanMilli: 0n, counted })
  const cheap = decideStanding(paid(500n, 22n, worst(500n)))
  expect(cheap).toMatchObject({ record: 'new', lots: expect.closeTo(0.5, 2) })
  const rival = decideStanding(paid(1_000n * usdc, 30_000n, worst(usdc)))
  expect(rival).toMatchObject({ record: 'good', lots: expect.closeTo(0.87, 1) })
  const bad = decideStanding(paid(100n * usdc, 10_000n, worst(90n * usdc)))
  expect(bad).toMatchObject({ record: 'poor' })
  expect(bad.lots).toBeLessThan(0.1)
  expect(decideStanding(paid(usdc, 1_000n, { meanMilli: 100_000n, counted: usdc })).record).toBe('new')
})

test('lost votes take from it, won ones make up for some; who was caught has no lots', () => {
  const votes = (votesWon: number, votesLost: number) =>
    decideStanding({ ...unknownService, votesWon, votesLost })
  expect(votes(0, 1)).toMatchObject({ record: 'poor' })
  expect(votes(20, 1)).toMatchObject({ record: 'new' })
  expect(votes(0, 3).lots).toBeLessThan(votes(0, 1).lots)
  expect(decideStanding({ ...paid(usdc, 10n ** 9n), hasCheated: true })).toEqual({ lots: 0, record: 'cheat' })
})

test('whatever is known, nobody has no lots but who was caught, and nobody more than all', () => {
  const amount = fc.bigInt({ min: 0n, max: 10n ** 15n })
  fc.assert(
    fc.property(
      fc.record({
        counted: amount,
        weight: amount,
        percent: fc.bigInt({ min: 0n, max: 100n }),
        meanMilli: fc.bigInt({ min: 0n, max: 100_000n }),
      }),
      fc.double({ min: 0, max: 20, noNaN: true }),
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      ({ counted, weight, percent, meanMilli }, votesWon, votesLost) => {
        const rated = (counted * percent) / 100n
        const facts = { ...paid(counted, weight, { meanMilli, counted: rated }), votesWon, votesLost }
        const { lots } = decideStanding(facts)
        expect(lots > 0 && lots <= 1).toBe(true)
        // Nothing that is held against somebody helps it.
        expect(decideStanding({ ...facts, votesLost: votesLost + 1 }).lots).toBeLessThanOrEqual(lots)
        const content = paid(counted, weight, { meanMilli: 100_000n, counted: rated })
        expect(decideStanding({ ...facts, ...content, votesWon, votesLost }).lots).toBeGreaterThanOrEqual(
          lots,
        )
      },
    ),
  )
})
