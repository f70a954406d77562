import type { Address } from 'viem'
import { sha256, toHex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { raceSignal } from '../base/signal.ts'
import { isProtocolError, ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Name } from '../name.ts'
import type { SwarmTerms } from './ballot.ts'
import { explainVote, type VoteChecks, type VoteFacts } from './check-votes.ts'
import { formatMember, type MemberReport } from './member.ts'
import { type Decision, decideVerdict } from './verdict.ts'
import { formatVote, type SignedVote } from './vote.ts'

export interface SwarmMember {
  readonly name: Name
  readonly address: Address
}

/** An answer that its member gave away once it had seen the votes. */
export interface Revealed {
  readonly status: number
  readonly rawHeaders: readonly string[]
  /** Empty where it was not asked for. */
  readonly body: Uint8Array
  /** The word of the member's receipt. */
  readonly receipt: string
}

/** The way to the members. What it rejects with is a ProtocolError. */
export interface SwarmWays<M extends SwarmMember> {
  /** Sends the ballot. @returns the vote, unchecked */
  ask(member: M, signal: AbortSignal): Promise<SignedVote>
  /** Shows the votes of those that agree, so that the member charges and answers. */
  reveal(
    member: M,
    proof: { readonly vote: SignedVote; readonly votes: readonly string[]; readonly wantsBody: boolean },
    signal: AbortSignal,
  ): Promise<Revealed>
}

export interface SwarmResult extends Pick<Decision, 'verdict'> {
  readonly members: readonly MemberReport[]
  /** Of those who voted alike, by name; the largest group first. */
  readonly groups: readonly VoteGroup[]
  /** Undefined where no answer won. */
  readonly answer: (Revealed & { readonly by: Name }) | undefined
}

export interface VoteGroup {
  readonly status: number
  readonly answerDigest: string
  readonly members: readonly Name[]
}

type Seat<M> = { readonly member: M } & (
  | { readonly kind: 'voted'; readonly vote: SignedVote; readonly order: number }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'failed' | 'invalid'; readonly code: string }
)

/**
 * Runs one swarm: asks all members at once, counts their votes when all are in or the time is over, shows those that agree that they
 * do, and takes the answer from the first of them that has the answer it voted for. Nobody is shown an answer before everybody has voted.
 */
export async function runSwarm<M extends SwarmMember>(
  { clock, isDelegated, ...ways }: SwarmWays<M> & { readonly clock: Clock } & Pick<VoteChecks, 'isDelegated'>,
  {
    members,
    terms,
    facts,
  }: { readonly members: readonly M[]; readonly terms: SwarmTerms; readonly facts: VoteFacts },
  signal: AbortSignal,
): Promise<SwarmResult> {
  let votes = 0
  const takeSeat = async (member: M, timeUp: AbortSignal): Promise<Seat<M>> => {
    try {
      const vote = await raceSignal(ways.ask(member, timeUp), timeUp)
      const checks = { isDelegated, nowSeconds: Math.floor(clock.nowMs() / 1000) }
      const wrong = await explainVote(vote, member.address, facts, checks)
      if (wrong !== undefined) return { member, kind: 'invalid', code: 'swarm_differs' }
      return { member, kind: 'voted', vote, order: votes++ }
    } catch (error) {
      if (timeUp.aborted && !isProtocolError(error)) return { member, kind: 'timeout' }
      return { member, kind: 'failed', code: isProtocolError(error) ? error.code : 'internal' }
    }
  }
  const seats = await withTime(clock, terms.timeoutMs, signal, (timeUp) =>
    Promise.all(members.map((member) => takeSeat(member, timeUp))),
  )
  const decision = decideVerdict(
    seats.map((seat) => (seat.kind === 'voted' ? seat.vote.vote : undefined)),
    terms.agreeing,
  )
  const groups = decision.groups.map((group): VoteGroup => {
    const { status, answerDigest } = votedAt(seats, group[0] as number).vote.vote
    return { status, answerDigest, members: group.map((index) => votedAt(seats, index).member.name) }
  })
  const agreeing = decision.agreeing.map((index) => votedAt(seats, index)).sort((a, b) => a.order - b.order)
  const shown = await revealAll(ways, clock, agreeing, signal)
  const reports = seats.map((seat): MemberReport => {
    const { name, address } = seat.member
    if (seat.kind === 'timeout') return { name, address, state: 'timeout' }
    if (seat.kind !== 'voted') return { name, address, state: seat.kind, code: seat.code }
    const { vote } = seat
    if (decision.agreeing.length === 0) return { name, address, state: 'voted', vote }
    if (!agreeing.includes(seat)) return { name, address, state: 'differs', vote }
    if (shown.broken.has(seat)) return { name, address, state: 'invalid', code: 'swarm_differs', vote }
    return { name, address, state: 'agrees', vote, receipt: shown.receipts.get(seat) }
  })
  return { verdict: decision.verdict, members: reports, groups, answer: shown.answer }
}

type VotedSeat<M> = Extract<Seat<M>, { kind: 'voted' }>

function votedAt<M>(seats: readonly Seat<M>[], index: number): VotedSeat<M> {
  const seat = seats[index]
  if (seat?.kind !== 'voted') throw new Error('only who has voted is in a group')
  return seat
}

interface Shown<M> {
  readonly receipts: ReadonlyMap<VotedSeat<M>, string>
  /** Those that had another answer than they had voted for. */
  readonly broken: ReadonlySet<VotedSeat<M>>
  readonly answer: (Revealed & { readonly by: Name }) | undefined
}

/** All that agree are charged for; one of them gives the answer, the next one where that fails. */
async function revealAll<M extends SwarmMember>(
  { reveal }: Pick<SwarmWays<M>, 'reveal'>,
  clock: Clock,
  agreeing: readonly VotedSeat<M>[],
  signal: AbortSignal,
): Promise<Shown<M>> {
  const votes = agreeing.map(({ vote }) => formatVote(vote))
  const receipts = new Map<VotedSeat<M>, string>()
  const broken = new Set<VotedSeat<M>>()
  const show = async (seat: VotedSeat<M>, wantsBody: boolean): Promise<Revealed | undefined> => {
    const { member, vote } = seat
    const revealed = await withTime(clock, limits.swarmRevealMsMax, signal, (timeUp) =>
      raceSignal(reveal(member, { vote, votes, wantsBody }, timeUp), timeUp),
    ).catch(() => undefined)
    if (revealed) receipts.set(seat, revealed.receipt)
    return revealed
  }
  const [first, ...rest] = agreeing
  if (!first) return { receipts, broken, answer: undefined }
  const others = Promise.all(rest.map((seat) => show(seat, false)))
  let answer: Shown<M>['answer']
  for (const seat of [first, ...rest]) {
    const revealed = await show(seat, true)
    if (!revealed) continue
    const { responseDigest, status } = seat.vote.vote
    if (revealed.status === status && toHex(sha256(revealed.body)) === responseDigest) {
      answer = { ...revealed, by: seat.member.name }
      break
    }
    broken.add(seat)
  }
  await others
  signal.throwIfAborted()
  return { receipts, broken, answer }
}

/** Runs something with a signal that aborts when the time is over. */
async function withTime<T>(
  clock: Clock,
  timeMs: number,
  signal: AbortSignal,
  run: (timeUp: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const timeUp = new AbortController()
  const over = new AbortController()
  const both = AbortSignal.any([signal, timeUp.signal])
  clock
    .sleep(timeMs, over.signal)
    .then(() => timeUp.abort(new DOMException('The time of the swarm is over.', 'TimeoutError')))
    .catch(() => undefined)
  try {
    const result = await run(both)
    signal.throwIfAborted()
    return result
  } finally {
    over.abort()
  }
}

/** What the caller of a swarm is told of its members, as headers. */
export function memberLines({ members }: Pick<SwarmResult, 'members'>): string[] {
  return members.map((report) => formatMember(report, report.vote && formatVote(report.vote), report.receipt))
}

/** Why nobody is answered: who gave which answer. Nothing was charged. */
export function noConsensus(
  { verdict, groups, members, answer }: SwarmResult,
  { agreeing }: SwarmTerms,
): ProtocolError {
  const won = groups[0] && groups[0].members.length >= agreeing && answer === undefined
  const seen = groups.map(({ status, members: names }) => `${names.join(', ')}: ${status}`).join('; ')
  const silent = members
    .filter(({ vote }) => !vote)
    .map(({ name, state, code }) => ({ name, state, ...(code !== undefined && { code }) }))
  return new ProtocolError(
    'no_consensus',
    won
      ? `${groups[0]?.members.length} members agree, and none of them has shown its answer.`
      : `No ${agreeing} of ${members.length} members gave the same answer (${seen || 'no votes'}).`,
    {
      hint: 'Send it again; if the program is deterministic, somebody is lying.',
      details: { verdict, groups, silent },
    },
  )
}
