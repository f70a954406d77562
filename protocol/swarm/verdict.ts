import { answerOf } from './check-votes.ts'
import type { Vote } from './vote-message.ts'

/** What came of a swarm, in the words of its answer. */
export const verdicts = ['all_equal', 'majority', 'all_equal_error', 'different', 'mixed'] as const
export type Verdict = (typeof verdicts)[number]

/** What is compared of a member's answer; undefined where it has not voted. */
export type Ballotted = Pick<Vote, 'programId' | 'status' | 'answerDigest'> | undefined

export interface Decision {
  readonly verdict: Verdict
  /** Those with the answer that won, as indices; empty where none did. */
  readonly agreeing: readonly number[]
  /** Those who voted alike, as indices, the largest group first. */
  readonly groups: readonly (readonly number[])[]
}

/**
 * Counts the votes of a swarm. The answer that most members gave wins where they are `agreeing` or more, and no other answer has as many.
 *
 * - `all_equal`: all members gave the same answer
 * - `all_equal_error`: the answer that won is an error (status 400 or above), and nobody gave another one
 * - `majority`: any other answer that won: somebody gave another one, or none
 * - `different`: none won; all gave answers of one kind, errors or not
 * - `mixed`: none won; some gave errors and others not, or none at all
 */
export function decideVerdict(votes: readonly Ballotted[], agreeing: number): Decision {
  const groups = groupVotes(votes)
  const [first = [], second = []] = groups
  if (first.length === 0 || first.length < agreeing || first.length === second.length)
    return { verdict: explainNone(votes), agreeing: [], groups }
  const isError = isErrorVote(votes[first[0] as number])
  const isUnopposed = groups.length === 1
  const isUnanimous = first.length === votes.length
  const verdict =
    isError && isUnopposed ? 'all_equal_error' : !isError && isUnanimous ? 'all_equal' : 'majority'
  return { verdict, agreeing: first, groups }
}

function groupVotes(votes: readonly Ballotted[]): number[][] {
  const groups = new Map<string, number[]>()
  votes.forEach((vote, index) => {
    if (!vote) return
    const name = answerOf(vote)
    const group = groups.get(name)
    if (group) group.push(index)
    else groups.set(name, [index])
  })
  return [...groups.values()].sort((a, b) => b.length - a.length)
}

function explainNone(votes: readonly Ballotted[]): Verdict {
  const kinds = new Set(votes.map((vote) => (vote ? isErrorVote(vote) : 'none')))
  return kinds.size === 1 && !kinds.has('none') ? 'different' : 'mixed'
}

const isErrorVote = (vote: Ballotted) => (vote?.status ?? 0) >= 400
