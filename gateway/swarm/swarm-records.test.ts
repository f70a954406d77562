import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { market } from '../../test/support/money.ts'
import { createVoter, digestOf, voteOf } from '../../test/support/votes.ts'
import { createSwarmPages } from '../http/swarm-pages.ts'
import { createSwarmRecords, toSwarmRecord } from './swarm-records.ts'
import type { CountedSwarm } from './swarm-upstream.ts'

const voter = await createVoter()
const swarmOf = (id: number): CountedSwarm => {
  const vote = voter.sign(voteOf({ swarm: digestOf(id), members: 2, agreeing: 1 }))
  const agrees = { name: parseName('alice'), address: voter.address, state: 'agrees' as const, vote }
  const silent = { name: parseName('bob'), address: market.escrow, state: 'timeout' as const }
  const differs = { ...agrees, name: parseName('carol'), state: 'differs' as const }
  const members = [{ ...agrees, receipt: 'krc1.abc' }, silent, differs]
  return {
    result: { verdict: 'majority', members, groups: [], answer: undefined },
    answeredBy: parseName('alice'),
    proof: {
      ballot: { swarm: digestOf(id), block: 8n, members: 2, agreeing: 1, timeoutMs: 3_000 },
      ...{ verdict: 'majority', candidates: [voter.address], members, status: 200 },
      ...{ bodyDigest: digestOf(9), requestDigest: digestOf(7), deployment: digestOf(4) },
    },
  }
}

function setup() {
  const clock = createTestClock()
  const swarms = createSwarmRecords({ clock })
  const app = createSwarmPages({ swarms, urlOf: (name) => `http://${name}.localhost/` })
  app.onError((error) => Response.json({ code: (error as { code?: string }).code }, { status: 404 }))
  return {
    clock,
    put: (id: number) => swarms.put(toSwarmRecord(swarmOf(id), { clock })),
    read: async (id: string) => {
      const answer = await app.request(`/_/swarms/${id}`)
      return { status: answer.status, json: (await answer.json()) as Record<string, unknown> }
    },
  }
}

test('a swarm that was run is told of afterwards: verdict, members, and where their receipts are', async () => {
  const at = setup()
  at.put(1)
  expect((await at.read(digestOf(1))).json).toMatchObject({
    ...{ swarm: digestOf(1), verdict: 'majority', status: 200, answeredBy: 'alice', block: 8 },
    terms: { members: 2, agreeing: 1, timeoutMs: 3_000 },
    members: [
      {
        ...{ name: 'alice', address: voter.address, state: 'agrees', code: null, status: 200 },
        receipt: `http://alice.localhost/_/receipts/${digestOf(2)}`,
      },
      { name: 'bob', state: 'timeout', receipt: null },
      // It was not charged, so there is none.
      { name: 'carol', state: 'differs', status: 200, receipt: null },
    ],
    proof: { version: 1, body: null },
  })
  for (const id of [digestOf(2), '0x', 'x'.repeat(66), `${digestOf(1).toUpperCase()}`])
    expect(await at.read(id)).toEqual({ status: 404, json: { code: 'not_found' } })
})

test('records go when they are old, and the oldest where there are too many', async () => {
  const at = setup()
  at.put(1)
  await at.clock.advance(limits.swarmRecordAgeMs)
  expect((await at.read(digestOf(1))).status).toBe(200)
  await at.clock.advance(1)
  expect((await at.read(digestOf(1))).status).toBe(404)
  const clock = createTestClock()
  const swarms = createSwarmRecords({ clock })
  const record = toSwarmRecord(swarmOf(1), { clock })
  const idOf = (n: number) => `0x${n.toString(16).padStart(64, '0')}` as const
  for (let n = 0; n <= limits.swarmRecordsMax; n += 1) swarms.put({ ...record, swarm: idOf(n) })
  expect([swarms.get(idOf(0)), swarms.get(idOf(1))]).toEqual([undefined, expect.anything()])
})
