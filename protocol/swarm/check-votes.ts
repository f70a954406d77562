import type { Address } from 'viem'
import type { DelegatedKey } from '../receipt-key.ts'
import type { Market } from '../typed-data.ts'
import { isVoteSigned, type SignedVote } from './vote.ts'
import type { Vote } from './vote-message.ts'

/** What a vote must say to be one in this swarm. */
export type VoteFacts = Pick<
  Vote,
  'swarm' | 'deployment' | 'candidates' | 'blockHash' | 'requestDigest' | 'members' | 'agreeing'
> & { readonly market: Market }

export interface VoteChecks {
  readonly isDelegated: (key: DelegatedKey, market: Market) => Promise<boolean>
  /** When the keys must hold; undefined where nobody knows when that was. */
  readonly nowSeconds: number | undefined
}

/** @returns what is wrong with a vote of this provider, or undefined */
export async function explainVote(
  signed: SignedVote,
  provider: Address,
  facts: VoteFacts,
  { isDelegated, nowSeconds }: VoteChecks,
): Promise<string | undefined> {
  const { key, vote, market } = signed
  if (key.provider !== provider) return `it is signed for ${key.provider}`
  if (market.chainId !== facts.market.chainId || market.escrow !== facts.market.escrow)
    return 'it belongs to another market'
  for (const name of factNames) if (vote[name] !== facts[name]) return `it has another ${name}`
  if (nowSeconds !== undefined && (nowSeconds < key.validAfter || nowSeconds > key.validBefore))
    return 'its key does not hold now'
  if (!isVoteSigned(signed)) return 'the receipt key signed something else'
  if (!(await isDelegated(key, market))) return `${provider} did not vouch for its key`
  return undefined
}

const factNames = [
  'swarm',
  'deployment',
  'candidates',
  'blockHash',
  'requestDigest',
  'members',
  'agreeing',
] as const

/**
 * Counts those that vote as `own` does: by members that were drawn, each once, `own` among them. Votes that are none, or of others,
 * count for nothing.
 */
export async function countAlike(
  own: SignedVote,
  others: readonly SignedVote[],
  selected: readonly Address[],
  checks: VoteChecks,
): Promise<number> {
  const facts = { ...own.vote, market: own.market }
  const counted = new Set<Address>([own.key.provider])
  for (const other of others) {
    const { provider } = other.key
    if (answerOf(other.vote) !== answerOf(own.vote) || counted.has(provider) || !selected.includes(provider))
      continue
    if ((await explainVote(other, provider, facts, checks)) === undefined) counted.add(provider)
  }
  return counted.size
}

/** What members vote about: votes with the same of it are for the same answer. */
export const answerOf = ({
  programId,
  status,
  answerDigest,
}: Pick<Vote, 'programId' | 'status' | 'answerDigest'>): string => `${programId} ${status} ${answerDigest}`
