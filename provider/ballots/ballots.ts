import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { SeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { Ballot } from '../../protocol/swarm/ballot.ts'
import { countAlike } from '../../protocol/swarm/check-votes.ts'
import { hashCandidates, selectionSeed, selectMembers } from '../../protocol/swarm/select-members.ts'
import { createDelegationChecks, parseVote, type SignedVote } from '../../protocol/swarm/vote.ts'
import type { Deployment } from '../deployments/deployments.ts'
import type { Booked } from '../http/call-money.ts'

/** A ballot for which this provider was drawn. */
export interface Drawn {
  readonly ballot: Ballot
  readonly blockHash: Hex
  /** See `hashCandidates`. */
  readonly candidates: Hex
  readonly selected: readonly Address[]
}

/** What a program answered, whole. */
export interface WholeAnswer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: Buffer
}

/** An answer that waits for the votes. */
export interface HeldAnswer {
  readonly drawn: Drawn
  readonly signed: SignedVote
  readonly answer: WholeAnswer
  /** Ours that go with it: call, price, payer. */
  readonly callHeaders: RawHeaders
  /** Charges for it, once. @throws ProtocolError `ledger_unavailable` */
  readonly charge: () => Promise<Booked>
  /** Gives the money back, once. Never fails. */
  readonly release: () => Promise<void>
}

export interface ShownAnswer extends Pick<HeldAnswer, 'answer' | 'callHeaders'> {
  readonly booked: Booked
}

/**
 * Ballots of swarms: calls whose answer is held until enough members have voted for the same one. All of it is in memory: where the
 * process ends, nobody is charged. Disposal releases what is held.
 */
export interface Ballots extends AsyncDisposable {
  /**
   * Draws the members as everybody else does.
   *
   * @throws ProtocolError `swarm_members_unknown`, `ballot_block_other`, `ballot_not_selected`, `provider_busy`, `chain_unreachable`
   */
  draw(ballot: Ballot, deployment: Deployment, signal: AbortSignal): Promise<Drawn>
  /** Until the swarm's time is over, and a little longer. @throws ProtocolError `provider_busy` where there is no room */
  hold(callId: Hex, held: HeldAnswer): void
  /**
   * Charges for an answer and gives it away, where these votes show that enough members have the same. Asked again it gives it again.
   *
   * @throws ProtocolError `ballot_unknown`, `votes_missing`, `ledger_unavailable`
   */
  reveal(callId: string, votes: readonly string[]): Promise<ShownAnswer>
  readonly held: number
}

interface Kept extends HeldAnswer {
  booked: Promise<Booked> | undefined
  readonly forget: () => void
}

export interface BallotsOptions {
  readonly provider: Address
}

export function createBallots(
  { clock, seedBlocks }: { clock: Clock; seedBlocks: Pick<SeedBlocks, 'find'> },
  { provider }: BallotsOptions,
): Ballots {
  const held = new Map<string, Kept>()
  const isDelegated = createDelegationChecks()
  let bytesHeld = 0

  function end(callId: string): void {
    const kept = held.get(callId)
    if (!kept) return
    held.delete(callId)
    bytesHeld -= kept.answer.body.length
    kept.forget()
  }

  return {
    get held() {
      return held.size
    },

    async draw(ballot, { digest, spec: { providers } }, signal) {
      if (providers.length === 0) throw membersUnknown()
      if (held.size >= limits.ballotsHeldMax) throw busy()
      const block = await seedBlocks.find(ballot.block, signal)
      if (!block) throw otherBlock(ballot.block)
      const selected = selectMembers(selectionSeed(block.hash, digest), providers, ballot.members)
      if (!selected.includes(provider)) throw notSelected(provider, ballot)
      return { ballot, blockHash: block.hash, candidates: hashCandidates(providers), selected }
    },

    hold(callId, answer) {
      const bytes = answer.answer.body.length
      if (held.size >= limits.ballotsHeldMax || bytesHeld + bytes > limits.ballotsHeldBytesMax) throw busy()
      bytesHeld += bytes
      const over = new AbortController()
      const kept: Kept = { ...answer, booked: undefined, forget: () => over.abort() }
      held.set(callId, kept)
      clock
        .sleep(answer.drawn.ballot.timeoutMs + limits.ballotGraceMs, over.signal)
        .then(() => {
          end(callId)
          if (!kept.booked) void kept.release()
        })
        .catch(() => undefined)
    },

    async reveal(callId, votes) {
      const kept = held.get(callId)
      if (!kept) throw unknown()
      const { ballot, selected } = kept.drawn
      const others = votes
        .slice(0, limits.swarmMembersMax)
        .map(parseVote)
        .filter((vote) => vote !== undefined)
      const checks = { isDelegated, nowSeconds: Math.floor(clock.nowMs() / 1000) }
      const alike = await countAlike(kept.signed, others, selected, checks)
      if (alike < ballot.agreeing) throw votesMissing(alike, ballot)
      // Its time may have come while the votes were looked at.
      if (held.get(callId) !== kept) throw unknown()
      kept.booked ??= kept.charge()
      return { answer: kept.answer, callHeaders: kept.callHeaders, booked: await kept.booked }
    },

    async [Symbol.asyncDispose]() {
      const open = [...held]
      for (const [callId] of open) end(callId)
      await Promise.all(
        open.map(([, kept]) => kept.booked ?? kept.release()).map((done) => done.catch(() => undefined)),
      )
    },
  }
}

const membersUnknown = () =>
  new ProtocolError(
    'swarm_members_unknown',
    'The deployment names no providers: nobody can say who was drawn.',
    {
      hint: 'Deploy it with --provider <name> for each provider that should serve it.',
    },
  )

const otherBlock = (block: bigint) =>
  new ProtocolError('ballot_block_other', `Nobody draws with block ${block} now.`, {
    hint: 'Send it again; if it stays, gateway and provider see different chains.',
  })

const notSelected = (provider: Address, { swarm, members }: Ballot) =>
  new ProtocolError('ballot_not_selected', `${provider} is not one of the ${members} that were drawn.`, {
    hint: 'Recompute it with "khachapuri swarm verify-selection".',
    details: { swarm },
  })

const votesMissing = (alike: number, { agreeing }: Ballot) =>
  new ProtocolError('votes_missing', `${alike} of the votes agree, and it takes ${agreeing}.`, {
    hint: 'Show the votes of members that were drawn for the same answer.',
    details: { alike, agreeing },
  })

const unknown = () =>
  new ProtocolError('ballot_unknown', 'No answer to such a call is held here.', {
    hint: 'The time of its swarm is over; nothing was charged.',
  })

const busy = () =>
  new ProtocolError('provider_busy', 'The provider holds as many answers of swarms as it may.', {
    hint: 'Send it again in 1 s.',
    details: { retryAfterSeconds: 1 },
  })
