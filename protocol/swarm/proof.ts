import { type Address, getAddress, type Hex, isAddress } from 'viem'
import { z } from 'zod'
import { sha256, toHex } from '../base/bytes.ts'
import { limits } from '../limits.ts'
import { addressSchema, hexSchema } from '../schema.ts'
import { type Ballot, formatBallot, parseBallot, swarmHeaders } from './ballot.ts'
import { formatMember, type MemberReport, parseMember } from './member.ts'
import { type Verdict, verdicts } from './verdict.ts'
import { formatVote } from './vote.ts'

/** Among whom the members were drawn, in the answer of a swarm. */
export const candidatesHeader = 'khachapuri-swarm-candidates'

export const formatCandidates = (candidates: readonly Address[]): string => candidates.join(' ')

/** @returns undefined for anything else */
export function parseCandidates(text: string): Address[] | undefined {
  const words = text.split(' ')
  if (words.length > limits.specProvidersMax || !words.every((word) => isAddress(word))) return undefined
  return words.map((word) => getAddress(word))
}

/** All that whoever called a swarm has in its hands afterwards. */
export interface SwarmProof {
  readonly ballot: Ballot
  readonly verdict: Verdict
  readonly candidates: readonly Address[]
  readonly members: readonly MemberReport[]
  readonly status: number
  /** SHA-256 of the body; undefined where nobody kept that. */
  readonly bodyDigest: Hex | undefined
  /** See `hashRequest`; undefined where nobody knows what was asked. */
  readonly requestDigest: Hex | undefined
  /** SHA-256 in the CID that was called. */
  readonly deployment: Hex | undefined
}

/**
 * Reads the head of a swarm's answer.
 *
 * @param headers - All values of a name in lower case.
 * @returns undefined where it is none of a swarm's
 */
export function readSwarmHead(
  headers: (lowerName: string) => readonly string[],
): Pick<SwarmProof, 'ballot' | 'verdict' | 'candidates' | 'members'> | undefined {
  const [terms] = headers(swarmHeaders.swarm)
  const [said] = headers(swarmHeaders.verdict)
  const [listed] = headers(candidatesHeader)
  const verdict = verdicts.find((one) => one === said)
  const candidates = listed === undefined ? undefined : parseCandidates(listed)
  const lines = headers(swarmHeaders.member)
  if (terms === undefined || !verdict || !candidates || lines.length > limits.swarmMembersMax)
    return undefined
  const members = lines.map(parseMember).filter((member) => member !== undefined)
  if (members.length !== lines.length) return undefined
  try {
    return { ballot: parseBallot(terms), verdict, candidates, members }
  } catch {
    return undefined
  }
}

const proofSchema = z.strictObject({
  version: z.literal(1),
  swarm: z.string().max(256),
  verdict: z.enum(verdicts),
  candidates: z.array(addressSchema).max(limits.specProvidersMax),
  members: z.array(z.string().max(limits.headerBytesMax)).max(limits.swarmMembersMax),
  status: z.number().int().min(100).max(999),
  requestDigest: hexSchema(32).nullable(),
  deployment: hexSchema(32).nullable(),
  /** Of the answer, Base64; null where whoever wrote this did not keep it. */
  body: z
    .string()
    .max(limits.ballotAnswerBytesMax * 2)
    .nullable(),
})
export type SwarmProofJson = z.input<typeof proofSchema>

/** For a file. */
export function swarmProofToJson(
  { ballot, verdict, candidates, members, status, requestDigest, deployment }: SwarmProof,
  body: Uint8Array | null,
): SwarmProofJson {
  return {
    version: 1,
    swarm: formatBallot(ballot),
    verdict,
    candidates: [...candidates],
    members: members.map((member) =>
      formatMember(member, member.vote && formatVote(member.vote), member.receipt),
    ),
    status,
    requestDigest: requestDigest ?? null,
    deployment: deployment ?? null,
    body: body && Buffer.from(body).toString('base64'),
  }
}

/** @returns undefined for anything else */
export function parseSwarmProof(json: unknown): SwarmProof | undefined {
  const parsed = proofSchema.safeParse(json)
  if (!parsed.success) return undefined
  const { swarm, members: lines, requestDigest, deployment, body, version: _, ...rest } = parsed.data
  const members = lines.map(parseMember).filter((member) => member !== undefined)
  if (members.length !== lines.length) return undefined
  try {
    return {
      ...rest,
      ballot: parseBallot(swarm),
      members,
      requestDigest: requestDigest ?? undefined,
      deployment: deployment ?? undefined,
      bodyDigest: body === null ? undefined : toHex(sha256(Buffer.from(body, 'base64'))),
    }
  } catch {
    return undefined
  }
}
