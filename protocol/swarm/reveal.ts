import { z } from 'zod'
import { limits } from '../limits.ts'
import { voteChars } from './vote.ts'

/** Of a provider: behind it stands the id of the call whose answer is held. */
export const revealPath = '/_/ballots/'

/** What a member is shown. */
const proofSchema = z.strictObject({
  votes: z.array(z.string().length(voteChars)).max(limits.swarmMembersMax),
  /** Whether the answer is wanted, and not the receipt alone. */
  body: z.boolean(),
})
export type VoteProof = z.output<typeof proofSchema>

/** @returns undefined for anything else */
export function parseProof(json: unknown): VoteProof | undefined {
  const parsed = proofSchema.safeParse(json)
  return parsed.success ? parsed.data : undefined
}

export const formatProof = (proof: VoteProof): string => JSON.stringify(proof)
