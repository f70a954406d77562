import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'
import { type SwarmProofJson, swarmProofToJson } from '../../protocol/swarm/proof.ts'
import type { CountedSwarm } from './swarm-upstream.ts'

/** What is told of a swarm afterwards: everything but what was asked and answered. It is the same in every process. */
export interface SwarmRecord {
  /** 32 bytes that nobody guesses: who has them may read the record. */
  readonly swarm: Hex
  /** When the votes were counted, in milliseconds since 1970. */
  readonly atMs: number
  /** SHA-256 of the answer's body; null where there was none. */
  readonly bodyDigest: Hex | null
  readonly answeredBy: string | null
  /** As "verify-swarm" reads it. */
  readonly proof: SwarmProofJson
}

/** Swarms that this gateway ran lately. */
export interface SwarmRecords {
  put(record: SwarmRecord): void
  get(swarm: Hex): SwarmRecord | undefined
}

export function createSwarmRecords({ clock }: { readonly clock: Clock }): SwarmRecords {
  const kept = createRecent<Hex, SwarmRecord>(limits.swarmRecordsMax)
  return {
    put: (record) => kept.set(record.swarm, record),
    get(swarm) {
      const record = kept.get(swarm)
      if (!record || clock.nowMs() - record.atMs <= limits.swarmRecordAgeMs) return record
      kept.delete(swarm)
      return undefined
    },
  }
}

export function toSwarmRecord(
  { proof, answeredBy }: CountedSwarm,
  { clock }: { readonly clock: Clock },
): SwarmRecord {
  return {
    swarm: proof.ballot.swarm,
    atMs: clock.nowMs(),
    bodyDigest: proof.bodyDigest ?? null,
    answeredBy: answeredBy ?? null,
    proof: swarmProofToJson(proof, null),
  }
}
