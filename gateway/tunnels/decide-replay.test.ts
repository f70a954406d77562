import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decideReplay, type ReplayFacts } from './decide-replay.ts'

const facts: fc.Arbitrary<ReplayFacts> = fc.record({
  isHandedOver: fc.boolean(),
  isAccepted: fc.boolean(),
  isAnswered: fc.boolean(),
  isKeyed: fc.boolean(),
  isBodyKept: fc.boolean(),
  attempts: fc.nat(6),
  attemptsMax: fc.constant(4),
})

test('a request that a provider may have, and whose caller gave no key, never goes to another process', () => {
  fc.assert(
    fc.property(facts, (known) => {
      if (known.isHandedOver && !known.isKeyed) expect(decideReplay(known)).not.toBe('anywhere')
    }),
  )
})

test('a request that was accepted, and whose caller gave no key, is never sent again', () => {
  fc.assert(
    fc.property(facts, (known) => {
      if (known.isHandedOver && known.isAccepted && !known.isKeyed) expect(decideReplay(known)).toBe('never')
    }),
  )
})

test('nothing is sent again after a part of the answer, without all of its body, or too often', () => {
  fc.assert(
    fc.property(facts, (known) => {
      if (known.isAnswered || !known.isBodyKept || known.attempts >= known.attemptsMax) {
        expect(decideReplay(known)).toBe('never')
      }
    }),
  )
})

test('what never left may go through any socket', () => {
  const known = {
    isHandedOver: false,
    isAccepted: false,
    isAnswered: false,
    isKeyed: false,
    isBodyKept: true,
  }
  expect(decideReplay({ ...known, attempts: 1, attemptsMax: 4 })).toBe('anywhere')
})
