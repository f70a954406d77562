import type { Hex } from 'viem'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

/** Headers of a swarm: a caller asks for one, members are asked to vote, and the answer says what came of it. */
export const swarmHeaders = {
  /** Of a caller: `n=5, k=3, timeout=3`. In the answer: the swarm's id and its terms. */
  swarm: 'khachapuri-swarm',
  /** Makes a call a ballot: see `formatBallot`. */
  ballot: 'khachapuri-ballot',
  /** A member's answer to a ballot: see `formatVote`. */
  vote: 'khachapuri-vote',
  /** One of `verdicts`. */
  verdict: 'khachapuri-verdict',
  /** Once for each member: see `formatMember`. */
  member: 'khachapuri-swarm-member',
} as const

/** What a caller wants of a swarm. */
export interface SwarmTerms {
  /** Providers that are asked: `n`. */
  readonly members: number
  /** Votes for the same answer that make it the answer: `k`. With half of the members or less, two answers may have as many; then none wins. */
  readonly agreeing: number
  /** For all of it. */
  readonly timeoutMs: number
}

/**
 * Reads `n=5, k=3, timeout=3`: seconds, three where there is no timeout; more than half of the members where there is no k.
 *
 * @throws ProtocolError `swarm_invalid`
 */
export function parseSwarmTerms(text: string): SwarmTerms {
  const fields = parseFields(text, ['n', 'k', 'timeout'])
  if (!fields) throw invalid(`"${text.slice(0, 60)}" does not say how many are asked.`)
  const members = integerOf(fields.get('n'))
  const agreeing = integerOf(fields.get('k') ?? String(Math.floor((members ?? 0) / 2) + 1))
  const timeout = fields.get('timeout') ?? String(limits.swarmTimeoutMsDefault / 1000)
  const timeoutMs = /^\d{1,4}(?:\.\d{1,3})?$/.test(timeout) ? Math.round(Number(timeout) * 1000) : 0
  if (members === undefined || members < 1 || members > limits.swarmMembersMax)
    throw invalid(`n is a number from 1 to ${limits.swarmMembersMax}.`)
  if (agreeing === undefined || agreeing < 1) throw invalid('k is a number from 1 to n.')
  if (agreeing > members)
    throw invalid(`${agreeing} of ${members} members cannot agree.`, { members, agreeing })
  if (timeoutMs < 1 || timeoutMs > limits.swarmTimeoutMsMax)
    throw invalid(`timeout is a number of seconds up to ${limits.swarmTimeoutMsMax / 1000}.`)
  return { members, agreeing, timeoutMs }
}

export const formatSwarmTerms = ({ members, agreeing, timeoutMs }: SwarmTerms): string =>
  `n=${members}, k=${agreeing}, timeout=${timeoutMs / 1000}`

/** What makes a call a ballot: its member answers with a vote, and with its answer only once enough have voted alike. */
export interface Ballot extends SwarmTerms {
  /** 32 bytes, made up by whoever counts the votes. */
  readonly swarm: Hex
  /** The number of the block whose hash the members were drawn with: see `seedBlockAt`. */
  readonly block: bigint
}

export const formatBallot = ({ swarm, block, ...terms }: Ballot): string =>
  `swarm=${swarm}, block=${block}, ${formatSwarmTerms(terms)}`

/** @throws ProtocolError `ballot_invalid` */
export function parseBallot(text: string): Ballot {
  const fields = parseFields(text, ['swarm', 'block', 'n', 'k', 'timeout'])
  const swarm = fields?.get('swarm') ?? ''
  const block = fields?.get('block') ?? ''
  if (!fields || !/^0x[0-9a-f]{64}$/.test(swarm) || !/^\d{1,15}$/.test(block))
    throw invalidBallot('It names no swarm and block.')
  try {
    const terms = parseSwarmTerms(
      `n=${fields.get('n')}, k=${fields.get('k')}, timeout=${fields.get('timeout')}`,
    )
    return { swarm: swarm as Hex, block: BigInt(block), ...terms }
  } catch (error) {
    throw invalidBallot((error as ProtocolError).message)
  }
}

/** `a=1, b=2`, each of these names at most once, nothing else. */
function parseFields(text: string, names: readonly string[]): Map<string, string> | undefined {
  if (text.length > 256) return undefined
  const fields = new Map<string, string>()
  for (const part of text.split(',')) {
    const [, name, value] = /^\s*([a-z]+)\s*=\s*([0-9a-z.]{1,80})\s*$/.exec(part) ?? []
    if (name === undefined || value === undefined || !names.includes(name) || fields.has(name))
      return undefined
    fields.set(name, value)
  }
  return fields
}

const integerOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,4}$/.test(text) ? Number(text) : undefined

const invalid = (why: string, details: Readonly<Record<string, unknown>> = {}) =>
  new ProtocolError('swarm_invalid', `This is no swarm: ${why}`, {
    hint: 'Ask for one with "Khachapuri-Swarm: n=5, k=3, timeout=3".',
    details,
  })

const invalidBallot = (why: string) =>
  new ProtocolError('ballot_invalid', `This is no ballot: ${why}`, {
    hint: 'Call through a gateway with the header Khachapuri-Swarm, or use "khachapuri swarm call --direct".',
  })
