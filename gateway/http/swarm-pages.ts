import { Hono } from 'hono'
import type { Hex } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { parseMember } from '../../protocol/swarm/member.ts'
import { parseSwarmProof } from '../../protocol/swarm/proof.ts'
import type { SwarmRecord, SwarmRecords } from '../swarm/swarm-records.ts'

export interface SwarmPagesDeps {
  readonly swarms: Pick<SwarmRecords, 'get'>
  /** Where a name is called. */
  readonly urlOf: (name: string) => string
}

/** `/_/swarms/<id>`: what came of a swarm that this gateway ran, for an hour. */
export function createSwarmPages({ swarms, urlOf }: SwarmPagesDeps): Hono {
  return new Hono().get('/_/swarms/:id', (c) => {
    const id = c.req.param('id')
    const record = /^0x[0-9a-f]{64}$/.test(id) ? swarms.get(id as Hex) : undefined
    if (!record) {
      const minutes = limits.swarmRecordAgeMs / 60_000
      throw new ProtocolError('not_found', 'This gateway has no record of such a swarm.', {
        hint: `Records are kept for ${minutes} minutes, of the last ${limits.swarmRecordsMax}, by the gateway that ran it; the id stands in Khachapuri-Swarm of the answer.`,
      })
    }
    return c.json(describe(record, urlOf), 200, { 'cache-control': 'no-store' })
  })
}

/** What the proof says, for whom its words are too long. */
function describe(record: SwarmRecord, urlOf: SwarmPagesDeps['urlOf']) {
  const { swarm, atMs, bodyDigest, answeredBy, proof } = record
  const ballot = parseSwarmProof(proof)?.ballot
  return {
    swarm,
    at: new Date(atMs).toISOString(),
    ...{ verdict: proof.verdict, status: proof.status, bodyDigest, answeredBy },
    terms: ballot && { members: ballot.members, agreeing: ballot.agreeing, timeoutMs: ballot.timeoutMs },
    block: ballot && Number(ballot.block),
    members: proof.members.map((line) => {
      const { name, address, state, code, vote, receipt } = parseMember(line) ?? {}
      const callId = vote?.vote.callId
      const isShown = name !== undefined && callId !== undefined && receipt !== undefined
      return {
        ...{ name, address, state, code: code ?? null, status: vote?.vote.status ?? null },
        receipt: isShown ? new URL(`/_/receipts/${callId}`, urlOf(name)).href : null,
      }
    }),
    proof,
  }
}
