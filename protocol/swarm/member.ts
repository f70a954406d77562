import { type Address, getAddress, isAddress } from 'viem'
import { limits } from '../limits.ts'
import { type Name, parseName } from '../name.ts'
import { receiptPrefix } from '../signed-receipt.ts'
import { parseVote, type SignedVote } from './vote.ts'

/** What a member of a swarm did. */
export const memberStates = [
  /** Its answer won. */
  'agrees',
  /** It voted for another answer than the one that won. */
  'differs',
  /** It voted, and no answer won. */
  'voted',
  /** It had not voted when the time was over. */
  'timeout',
  /** It refused, failed or could not be reached. */
  'failed',
  /** It gave something that is no vote of its own in this swarm, or another answer than it had voted for. */
  'invalid',
] as const
export type MemberState = (typeof memberStates)[number]

export interface MemberReport {
  readonly name: Name
  readonly address: Address
  readonly state: MemberState
  /** Of the problem, where it failed. */
  readonly code?: string | undefined
  readonly vote?: SignedVote | undefined
  /** As the word `krc1.…`; only of one that agrees, and only where it was charged in time. */
  readonly receipt?: string | undefined
}

/** For a header: `alice; 0x…; agrees; kvt1.…; krc1.…`, with `-` for what is not there; a code stands behind `failed:`. */
export function formatMember(
  { name, address, state, code }: Omit<MemberReport, 'vote'>,
  vote?: string,
  receipt?: string,
): string {
  return [name, address, code ? `${state}:${code}` : state, vote ?? '-', receipt ?? '-'].join('; ')
}

/** @returns undefined for anything else */
export function parseMember(text: string): MemberReport | undefined {
  if (text.length > limits.headerBytesMax) return undefined
  const [name = '', address = '', said = '', voteText = '', receiptText = '', ...rest] = text.split('; ')
  const [state, code, ...more] = said.split(':')
  const known = memberStates.find((one) => one === state)
  const vote = voteText === '-' ? undefined : parseVote(voteText)
  if (!known || rest.length > 0 || more.length > 0 || !isAddress(address)) return undefined
  if (voteText !== '-' && !vote) return undefined
  if (receiptText !== '-' && !receiptText.startsWith(`${receiptPrefix}.`)) return undefined
  if (code !== undefined && !/^[a-z_]{1,64}$/.test(code)) return undefined
  try {
    return {
      name: parseName(name),
      address: getAddress(address),
      state: known,
      ...(code !== undefined && { code }),
      ...(vote && { vote }),
      ...(receiptText !== '-' && { receipt: receiptText }),
    }
  } catch {
    return undefined
  }
}
