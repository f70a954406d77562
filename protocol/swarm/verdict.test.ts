import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestOf } from '../../test/support/votes.ts'
import { type Ballotted, decideVerdict } from './verdict.ts'

/** `a`: answered with a; `A`: failed with a; `.`: did not vote. */
const votesOf = (text: string): Ballotted[] =>
  [...text].map((letter) =>
    letter === '.'
      ? undefined
      : {
          programId: digestOf(3),
          status: letter === letter.toLowerCase() ? 200 : 404,
          answerDigest: digestOf(letter.toLowerCase().charCodeAt(0)),
        },
  )

test.each([
  ['aaaaa', 3, 'all_equal', 5],
  ['aaaab', 3, 'majority', 4],
  ['aabba', 3, 'majority', 3],
  ['aaaa.', 3, 'majority', 4],
  ['aaaaA', 3, 'majority', 4],
  ['AAAab', 3, 'majority', 3],
  ['AAAAA', 3, 'all_equal_error', 5],
  ['AAA..', 3, 'all_equal_error', 3],
  ['aabcd', 3, 'different', 0],
  ['AABCD', 3, 'different', 0],
  ['abcde', 5, 'different', 0],
  ['aaBcd', 3, 'mixed', 0],
  ['aab..', 3, 'mixed', 0],
  ['.....', 3, 'mixed', 0],
  ['aabb', 2, 'different', 0],
  ['a', 1, 'all_equal', 1],
] as const)('%s of which %i must agree: %s', (text, agreeing, verdict, won) => {
  const decision = decideVerdict(votesOf(text), agreeing)
  expect(decision.verdict).toBe(verdict)
  expect(decision.agreeing).toHaveLength(won)
})

test('the answer of enough members wins whatever the order, and no other', () => {
  const letters = fc.array(fc.constantFrom(...'aAbB.'), { minLength: 1, maxLength: 16 })
  fc.assert(
    fc.property(letters, fc.integer({ min: 1, max: 16 }), (array, agreeing) => {
      const votes = votesOf(array.join(''))
      const { agreeing: won, groups, verdict } = decideVerdict(votes, agreeing)
      expect(groups.flat().length).toBe(votes.filter((vote) => vote).length)
      if (won.length === 0) {
        expect(['different', 'mixed']).toContain(verdict)
        return
      }
      expect(won.length).toBeGreaterThanOrEqual(agreeing)
      const [first] = won
      const sameAsFirst = array.flatMap((letter, index) => (letter === array[first as number] ? [index] : []))
      expect(won).toEqual(sameAsFirst)
      for (const other of groups.slice(1)) expect(other.length).toBeLessThan(won.length)
      const reversed = decideVerdict([...votes].reverse(), agreeing)
      expect([reversed.verdict, reversed.agreeing.length]).toEqual([verdict, won.length])
    }),
  )
})
