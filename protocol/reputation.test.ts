import fc from 'fast-check'
import { type Address, getAddress, pad, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { compactFacts, computeReputation, type ReputationFacts, squareRoot } from './reputation.ts'

const accountOf = (n: number): Address =>
  getAddress(pad(`0x${n.toString(16).padStart(2, '0')}`, { size: 20 }))
const [provider, owner, ann, ben] = [accountOf(1), accountOf(2), accountOf(3), accountOf(4)]
const none: ReputationFacts = { provider, owner, charges: [], ratings: [], gifts: [] }
const charge = (payer: Address, paid: bigint, calls: number, signer: Address = zeroAddress) => ({
  ...{ payer, paid, calls, signer },
})

test('calls, payers and money are added up; who paid more weighs more, but less than in proportion', () => {
  const charges = [charge(ann, 100n, 1), charge(ann, 300n, 4), charge(ben, 100n, 2), charge(ann, 0n, 9, ann)]
  expect(computeReputation({ ...none, charges })).toEqual({
    ...{ calls: 15, payers: 2, effectivePayersMilli: 1470n, spent: 500n, counted: 500n, weight: 30n },
    excluded: { payers: 0, spent: 0n },
    ratings: { count: 0, meanMilli: null, counted: 0n },
  })
  expect(computeReputation(none)).toMatchObject({ calls: 0, effectivePayersMilli: 0n, weight: 0n })
})

test('self-dealing counts for nothing: the provider, the owner, and money that came from them', () => {
  const charges = [
    charge(provider, 500n, 5),
    charge(owner, 500n, 5),
    charge(ann, 400n, 4),
    charge(ben, 400n, 4),
  ]
  const gifts = [
    { to: ann, amount: 250n },
    { to: ann, amount: 150n },
    { to: ben, amount: 300n },
  ]
  const ratings = [ann, ben, provider].map((payer) => ({ payer, score: 100 }))
  expect(computeReputation({ ...none, charges, gifts, ratings })).toMatchObject({
    ...{ calls: 4, payers: 1, counted: 100n, weight: 10n, effectivePayersMilli: 1000n },
    excluded: { payers: 3, spent: 1_400n },
    ratings: { count: 1, meanMilli: 100_000n, counted: 100n },
  })
})

test('the last rating of each payer who counts is taken, by what it paid', () => {
  const charges = [charge(ann, 300n, 1), charge(ben, 100n, 1)]
  const ratings = [
    { payer: ann, score: 0 },
    { payer: ben, score: 20 },
    { payer: ann, score: 100 },
    { payer: accountOf(9), score: 0 },
  ]
  expect(computeReputation({ ...none, charges, ratings }).ratings).toEqual({
    ...{ count: 2, meanMilli: 80_000n, counted: 400n },
  })
})

test('whatever happened, what counts is no more than what was paid, and gifts never help', () => {
  const account = fc.integer({ min: 1, max: 8 }).map(accountOf)
  const amount = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
  const charges = fc.array(fc.record({ payer: account, signer: account, paid: amount, calls: fc.nat(1000) }))
  const gifts = fc.array(fc.record({ to: account, amount }))
  fc.assert(
    fc.property(charges, gifts, (paid, given) => {
      const plain = computeReputation({ ...none, charges: paid })
      const gifted = computeReputation({ ...none, charges: paid, gifts: given })
      expect(gifted.counted <= plain.counted && plain.counted <= plain.spent).toBe(true)
      expect(gifted.weight <= plain.weight).toBe(true)
      expect(gifted.effectivePayersMilli <= BigInt(gifted.payers) * 1000n).toBe(true)
    }),
  )
})

test('facts that are kept in less space, a piece at a time, come to the same', () => {
  const account = fc.integer({ min: 1, max: 6 }).map(accountOf)
  const amount = fc.bigInt({ min: 0n, max: 1_000_000n })
  const facts = fc.record({
    provider: fc.constant(provider),
    owner: fc.constant(owner),
    charges: fc.array(fc.record({ payer: account, signer: account, paid: amount, calls: fc.nat(1000) })),
    gifts: fc.array(fc.record({ to: account, amount })),
    ratings: fc.array(fc.record({ payer: account, score: fc.nat(100) })),
  })
  const join = (one: ReputationFacts, other: ReputationFacts): ReputationFacts => ({
    ...one,
    charges: [...one.charges, ...other.charges],
    gifts: [...one.gifts, ...other.gifts],
    ratings: [...one.ratings, ...other.ratings],
  })
  fc.assert(
    fc.property(facts, facts, (first, second) => {
      const pieces = compactFacts(join(compactFacts(first), second))
      expect(computeReputation(pieces)).toEqual(computeReputation(join(first, second)))
      expect(pieces.ratings.length).toBeLessThanOrEqual(6)
      expect(pieces.gifts.length).toBeLessThanOrEqual(6)
      expect(pieces.charges.length).toBeLessThanOrEqual(36)
    }),
  )
})

test('a square root is the whole part of it', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 200n }), (n) => {
      const root = squareRoot(n)
      expect(root * root <= n && n < (root + 1n) * (root + 1n)).toBe(true)
    }),
  )
})
