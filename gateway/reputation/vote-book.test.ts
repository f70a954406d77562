import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import type { MemberReport, MemberState } from '../../protocol/swarm/member.ts'
import { createVoter, digestOf, voteOf } from '../../test/support/votes.ts'
import { createVoteBook } from './vote-book.ts'

const voter = await createVoter()
const member = (state: MemberState, hasVote = true): MemberReport => ({
  ...{ name: parseName('carol'), address: voter.address, state },
  ...(hasVote && { vote: voter.sign(voteOf()) }),
})
const setup = () => {
  const clock = createTestClock()
  const book = createVoteBook({ clock })
  return {
    clock,
    note: (deployment: number, ...members: MemberReport[]) => book.note(digestOf(deployment), { members }),
    record: () => book.of(voter.address),
  }
}

test('votes that won and lost are counted, and fade; who did not vote lost none', async () => {
  const at = setup()
  expect(at.record()).toEqual({ votesWon: 0, votesLost: 0, hasCheated: false })
  at.note(1, member('agrees'), member('timeout', false), member('failed', false), member('voted'))
  at.note(1, member('differs'))
  expect(at.record()).toEqual({ votesWon: 1, votesLost: 1, hasCheated: false })
  await at.clock.advance(limits.routeVoteHalfLifeMs)
  expect(at.record()).toEqual({ votesWon: 0.5, votesLost: 0.5, hasCheated: false })
  for (let n = 0; n < 100; n += 1) at.note(1, member('agrees'))
  expect(at.record().votesWon).toBe(limits.routeWonVotesMax)
})

test('one deployment takes one vote from a provider for a while, however often it is called', async () => {
  const at = setup()
  for (let n = 0; n < 10; n += 1) at.note(1, member('differs'))
  expect(at.record().votesLost).toBe(1)
  at.note(2, member('differs'))
  expect(at.record().votesLost).toBe(2)
  await at.clock.advance(limits.routeVoteHalfLifeMs)
  at.note(1, member('differs'))
  expect(at.record().votesLost).toBe(2)
})

test('who shows another answer than it voted for is known by it for a while; a vote of nobody is not held against it', async () => {
  const at = setup()
  at.note(1, member('invalid', false))
  expect(at.record().hasCheated).toBe(false)
  at.note(1, member('invalid'))
  expect(at.record().hasCheated).toBe(true)
  await at.clock.advance(limits.routeCheatMs - 1)
  expect(at.record().hasCheated).toBe(true)
  await at.clock.advance(1)
  expect(at.record().hasCheated).toBe(false)
})
