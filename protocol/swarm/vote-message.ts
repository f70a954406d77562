import type { Address, Hex } from 'viem'
import { keccak256, utf8 } from '../base/bytes.ts'

/** What a member of a swarm signs. Its thread must not need viem to start. */

/** A member's word on what its program answered, before it shows the answer. */
export interface Vote {
  readonly swarm: Hex
  /** The member's own call. */
  readonly callId: Hex
  readonly programId: Hex
  /** SHA-256 in the deployment's CID. */
  readonly deployment: Hex
  /** See `hashCandidates`: among whom the members were drawn. */
  readonly candidates: Hex
  /** Of the block that they were drawn with. */
  readonly blockHash: Hex
  /** See `hashRequest`. */
  readonly requestDigest: Hex
  /** SHA-256 of the body. */
  readonly responseDigest: Hex
  /** What is compared: see `digestAnswer`. */
  readonly answerDigest: Hex
  readonly status: number
  /** Of the ballot: `n` and `k`. */
  readonly members: number
  readonly agreeing: number
}

/** The fields of 32 bytes, in their order. */
export const voteDigests = [
  'swarm',
  'callId',
  'programId',
  'deployment',
  'candidates',
  'blockHash',
  'requestDigest',
  'responseDigest',
  'answerDigest',
] as const

/** The order is wire format. */
export const voteTypes = {
  Vote: [
    { name: 'provider', type: 'address' },
    ...voteDigests.map((name) => ({ name, type: 'bytes32' as const })),
    { name: 'status', type: 'uint16' },
    { name: 'members', type: 'uint8' },
    { name: 'agreeing', type: 'uint8' },
  ],
} as const

const voteTypeHash = keccak256(
  utf8.encode(`Vote(${voteTypes.Vote.map(({ type, name }) => `${type} ${name}`).join(',')})`),
)

/** What the member's key signs, before SHA-256: the 66 bytes of EIP-712. */
export function voteMessage(vote: Vote, provider: Address, separator: Uint8Array): Uint8Array {
  const struct = Buffer.alloc(14 * 32)
  struct.set(voteTypeHash)
  struct.write(provider.slice(2), 2 * 32 - 20, 'hex')
  voteDigests.forEach((name, index) => void struct.write(vote[name].slice(2), (index + 2) * 32, 'hex'))
  struct.writeUInt16BE(vote.status, 12 * 32 - 2)
  struct.writeUInt8(vote.members, 13 * 32 - 1)
  struct.writeUInt8(vote.agreeing, 14 * 32 - 1)
  const message = Buffer.alloc(66)
  message.writeUInt16BE(0x1901)
  message.set(separator, 2)
  message.set(keccak256(struct), 34)
  return message
}
