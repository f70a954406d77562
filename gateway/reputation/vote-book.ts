import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent, type Recent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'
import type { SwarmResult } from '../../protocol/swarm/count-votes.ts'

/** How a provider voted lately in the swarms that this gateway ran. */
export interface VoteRecord {
  readonly votesWon: number
  readonly votesLost: number
  readonly hasCheated: boolean
}

export interface VoteBook {
  /** Takes what came of a swarm of this deployment (SHA-256 in its CID). */
  note(deployment: Hex, result: Pick<SwarmResult, 'members'>): void
  of(provider: Address): VoteRecord
}

interface Kept {
  won: number
  lost: number
  /** When these two were last brought up to date, in monotonic milliseconds. */
  atMs: number
  cheatedUntilMs: number
  /** Deployments whose vote it lost, and until when they do not count again. */
  readonly lostOf: Recent<Hex, number>
}

const none: VoteRecord = { votesWon: 0, votesLost: 0, hasCheated: false }

/**
 * Votes fade, so that what was long ago counts for little. Who loses votes of one deployment loses one for a while: its
 * program may answer differently at each provider, by mistake or on purpose. To show another answer than one voted for takes
 * no program.
 */
export function createVoteBook({ clock }: { readonly clock: Clock }): VoteBook {
  const kept = createRecent<Address, Kept>(limits.routeHealthKeptMax)

  function openRecord(provider: Address): Kept {
    const nowMs = clock.monotonicMs()
    const known = kept.get(provider) ?? {
      ...{ won: 0, lost: 0, atMs: nowMs, cheatedUntilMs: 0 },
      lostOf: createRecent<Hex, number>(limits.routeLostVotesKeptMax),
    }
    const left = fadeOf(known, nowMs)
    known.won *= left
    known.lost *= left
    known.atMs = nowMs
    kept.set(provider, known)
    return known
  }

  return {
    note(deployment, { members }) {
      const nowMs = clock.monotonicMs()
      for (const { address, state, vote } of members) {
        if (state === 'agrees') {
          const record = openRecord(address)
          record.won = Math.min(record.won + 1, limits.routeWonVotesMax)
        } else if (state === 'differs') {
          const record = openRecord(address)
          if ((record.lostOf.get(deployment) ?? 0) > nowMs) continue
          record.lostOf.set(deployment, nowMs + limits.routeVoteHalfLifeMs)
          record.lost += 1
        } else if (state === 'invalid' && vote) {
          openRecord(address).cheatedUntilMs = nowMs + limits.routeCheatMs
        }
      }
    },
    of(provider) {
      const record = kept.get(provider)
      if (!record) return none
      const nowMs = clock.monotonicMs()
      const left = fadeOf(record, nowMs)
      return {
        votesWon: record.won * left,
        votesLost: record.lost * left,
        hasCheated: record.cheatedUntilMs > nowMs,
      }
    },
  }
}

const fadeOf = ({ atMs }: Kept, nowMs: number): number => 0.5 ** ((nowMs - atMs) / limits.routeVoteHalfLifeMs)
