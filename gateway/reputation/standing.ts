import { limits } from '../../protocol/limits.ts'
import type { Reputation } from '../../protocol/reputation.ts'

/** What a gateway knows of how a provider has served others. */
export interface ServiceFacts {
  /** From the chain; undefined before it was read. */
  readonly reputation: Pick<Reputation, 'weight' | 'counted' | 'ratings'> | undefined
  /** Votes in swarms of this gateway lately, by those that won and those that lost; fractions, as they fade. */
  readonly votesWon: number
  readonly votesLost: number
  /** It showed another answer than it had voted for, not long ago. */
  readonly hasCheated: boolean
}

export interface Standing {
  /** Its lots in the draw, from 0 to 1; 0 where it gets a call only if nobody else is left. */
  readonly lots: number
  readonly record: ServiceRecord
}

/** `new`: too little is known to count; `good`, `poor`: by what payers and votes said; `cheat`: it was caught. */
export type ServiceRecord = 'new' | 'good' | 'poor' | 'cheat'

export const unknownService: ServiceFacts = {
  reputation: undefined,
  votesWon: 0,
  votesLost: 0,
  hasCheated: false,
}

/** Of the lots of one that everybody pays: so a newcomer is tried, and who has a name does not have it all. */
export const lotsOfNewcomer = 0.5
/** However bad its record: who gets better has to be able to show it. */
const lotsMin = 0.02

/**
 * How many lots a provider has. What others paid it raises them from a half to all, slowly (see `weight`); complaints of those
 * who paid, and lost votes, take from them. A complaint counts by what its payer paid, beside a sum that all newcomers are
 * taken to have earned without one, so that nobody is ruined for the price of a call.
 */
export function decideStanding({ reputation, votesWon, votesLost, hasCheated }: ServiceFacts): Standing {
  if (hasCheated) return { lots: 0, record: 'cheat' }
  const weight = Number(reputation?.weight ?? 0n)
  const trust = weight / (weight + limits.routeTrustWeight)
  const content = 1 - complaintsOf(reputation)
  const votes = (votesWon + votesTaken) / (votesWon + votesTaken + lostVoteCosts * votesLost)
  const lots = (lotsOfNewcomer + (1 - lotsOfNewcomer) * trust) * content * votes
  const record = content * votes < 0.5 ? 'poor' : trust < 0.1 ? 'new' : 'good'
  return { lots: Math.max(lotsMin, lots), record }
}

/** Votes that everybody is taken to have won, and how many won ones make up for a lost one. */
const votesTaken = 2
const lostVoteCosts = 4

/** The part of the money whose payers complain, from 0 to 1. */
function complaintsOf(reputation: ServiceFacts['reputation']): number {
  const { counted = 0n, ratings } = reputation ?? {}
  if (!ratings || ratings.meanMilli === null) return 0
  const unhappy = (Number(ratings.counted) * (100_000 - Number(ratings.meanMilli))) / 100_000
  return unhappy / (Number(counted) + Number(limits.routeContentUsdc))
}
