import { once } from 'node:events'
import { expect, test } from 'vitest'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { createTestClock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseName } from '../../protocol/name.ts'
import { digestAnswer } from '../../protocol/swarm/compare-answers.ts'
import { memberLines, noConsensus, runSwarm, type SwarmResult } from '../../protocol/swarm/count-votes.ts'
import { parseMember } from '../../protocol/swarm/member.ts'
import { parseSwarmProof, type SwarmProof, swarmProofToJson } from '../../protocol/swarm/proof.ts'
import { hashCandidates } from '../../protocol/swarm/select-members.ts'
import { verifySwarm } from '../../protocol/swarm/verify-swarm.ts'
import type { SignedVote } from '../../protocol/swarm/vote.ts'
import { createDelegationChecks } from '../../protocol/swarm/vote.ts'
import { market, never } from '../../test/support/money.ts'
import { createVoter, digestOf, type Voter, voteOf } from '../../test/support/votes.ts'
import { forgeSwarm, parseGatewayFault } from './forge-swarm.ts'

const names = ['alice', 'bob', 'carol', 'dave', 'erin'].map(parseName)
const voters = await Promise.all(names.map(createVoter))
const addresses = voters.map(({ address }) => address)
const isDelegated = createDelegationChecks()
const ballot = { swarm: digestOf(1), block: 8n, members: 5, agreeing: 3, timeoutMs: 3_000 }
const facts = {
  ...voteOf({ candidates: hashCandidates(addresses) }),
  market,
}

/** How each member behaves: what it answers, or one of the ways to misbehave. */
type Behaviour =
  | { readonly body: string; readonly status?: number; readonly shows?: string }
  | 'silent'
  /** Votes when the time is over. */
  | 'late'
  | 'refuses'
  | 'votes elsewhere'

const answerOf = (body: string, status = 200) => ({ status, rawHeaders: [], body: Buffer.from(body) })

function voteFor(
  voter: Voter,
  behaviour: Exclude<Behaviour, 'silent' | 'late' | 'refuses'>,
  index: number,
): SignedVote {
  const { body, status } = typeof behaviour === 'string' ? { body: 'x' } : { status: 200, ...behaviour }
  const answer = answerOf(body, status)
  const changes = behaviour === 'votes elsewhere' ? { swarm: digestOf(99) } : {}
  return voter.sign({
    ...voteOf(),
    candidates: facts.candidates,
    callId: digestOf(100 + index),
    status: answer.status,
    responseDigest: toHex(sha256(answer.body)),
    answerDigest: digestAnswer(answer),
    ...changes,
  })
}

/** A swarm of five whose ways lead to these members. */
async function runWith(...behaviours: Behaviour[]) {
  const clock = createTestClock()
  const shown: { readonly name: string; readonly votes: number; readonly wantsBody: boolean }[] = []
  const indexOf = (name: string) => names.indexOf(parseName(name))
  let asked = 0
  const running = runSwarm(
    {
      clock,
      isDelegated,
      async ask({ name }, signal) {
        asked += 1
        const behaviour = behaviours[indexOf(name)]
        if (behaviour === 'refuses') throw new ProtocolError('grant_missing', 'No.', { hint: 'Pay.' })
        if (behaviour === 'late') {
          await once(signal, 'abort')
          return voteFor(voters[indexOf(name)] as Voter, says('a'), indexOf(name))
        }
        if (behaviour === undefined || behaviour === 'silent')
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        return voteFor(voters[indexOf(name)] as Voter, behaviour, indexOf(name))
      },
      async reveal({ name }, { votes, wantsBody }) {
        shown.push({ name, votes: votes.length, wantsBody })
        const behaviour = behaviours[indexOf(name)]
        if (typeof behaviour !== 'object') throw new Error('it has not voted')
        return { ...answerOf(behaviour.shows ?? behaviour.body, behaviour.status), receipt: `krc1.${name}` }
      },
    },
    {
      members: names.map((name, index) => ({ name, address: addresses[index] as `0x${string}` })),
      terms: ballot,
      facts,
    },
    never,
  )
  if (behaviours.includes('silent') || behaviours.includes('late')) {
    // All others have voted once the checks of their signatures are through.
    while (clock.sleepers === 0 || asked < names.length) await new Promise((resolve) => setImmediate(resolve))
    await Promise.all(
      voters.map((voter, index) => isDelegated(voteFor(voter, { body: 'x' }, index).key, market)),
    )
    await clock.advance(ballot.timeoutMs)
  }
  return { result: await running, shown }
}

const states = ({ members }: SwarmResult) => members.map(({ state }) => state).join(' ')
const says = (body: string, status = 200) => ({ body, status })

test.each<[string, string, Behaviour[], string]>([
  ['all agree', 'all_equal', names.map(() => says('a')), 'agrees agrees agrees agrees agrees'],
  [
    'one lies',
    'majority',
    [says('a'), says('a'), says('b'), says('a'), says('a')],
    'agrees agrees differs agrees agrees',
  ],
  [
    'two lie alike',
    'majority',
    [says('a'), says('b'), says('b'), says('a'), says('a')],
    'agrees differs differs agrees agrees',
  ],
  [
    'all say there is nothing',
    'all_equal_error',
    names.map(() => says('no', 404)),
    'agrees agrees agrees agrees agrees',
  ],
  [
    'one is silent',
    'majority',
    [says('a'), says('a'), 'silent', says('a'), says('a')],
    'agrees agrees timeout agrees agrees',
  ],
  [
    'one votes when the time is over',
    'majority',
    [says('a'), says('a'), 'late', says('a'), says('a')],
    'agrees agrees timeout agrees agrees',
  ],
  [
    'one refuses',
    'majority',
    [says('a'), says('a'), 'refuses', says('a'), says('a')],
    'agrees agrees failed agrees agrees',
  ],
  [
    'one votes in another swarm',
    'majority',
    [says('a'), says('a'), 'votes elsewhere', says('a'), says('a')],
    'agrees agrees invalid agrees agrees',
  ],
])('%s: %s', async (_, verdict, behaviours, expected) => {
  const { result, shown } = await runWith(...behaviours)
  expect([result.verdict, states(result)]).toEqual([verdict, expected])
  const winners = expected.split(' ').filter((state) => state === 'agrees').length
  expect(Buffer.from(result.answer?.body ?? '').toString()).toBe(verdict === 'all_equal_error' ? 'no' : 'a')
  // All that agree are shown all their votes, and one of them is asked for the answer.
  expect(new Set(shown.map(({ name }) => name)).size).toBe(winners)
  expect(shown.filter(({ wantsBody }) => wantsBody)).toHaveLength(1)
  for (const { votes } of shown) expect(votes).toBe(winners)
  expect(memberLines(result).map(parseMember)).toEqual(
    result.members.map(({ receipt, code, ...rest }) => ({
      ...rest,
      ...(code && { code }),
      ...(receipt && { receipt }),
    })),
  )
})

test.each<[string, string, Behaviour[]]>([
  ['three different lies', 'different', [says('a'), says('a'), says('b'), says('c'), says('d')]],
  ['errors among answers', 'mixed', [says('a'), says('a'), says('b', 500), says('c'), says('d')]],
])('%s are no answer: nobody is shown votes, so nobody charges', async (_, verdict, behaviours) => {
  const { result, shown } = await runWith(...behaviours)
  expect([result.verdict, result.answer, shown]).toEqual([verdict, undefined, []])
  const { details, code } = noConsensus(result, ballot)
  expect([code, details['groups']]).toEqual([
    'no_consensus',
    [
      expect.objectContaining({ members: ['alice', 'bob'] }),
      expect.anything(),
      expect.anything(),
      expect.anything(),
    ],
  ])
})

test('who shows another answer than it voted for is passed over, and named', async () => {
  const { result } = await runWith({ body: 'a', shows: 'z' }, says('a'), says('a'), says('a'), says('b'))
  expect(Buffer.from(result.answer?.body ?? '').toString()).toBe('a')
  expect(states(result)).toBe('invalid agrees agrees agrees differs')
})

const proofOf = (result: SwarmResult): SwarmProof => ({
  ...{ ballot, verdict: result.verdict, candidates: addresses, members: result.members },
  status: result.answer?.status ?? 502,
  bodyDigest: toHex(sha256(result.answer?.body ?? new Uint8Array())),
  ...{ requestDigest: facts.requestDigest, deployment: facts.deployment },
})
const accounts = new Map(names.map((name, index) => [name as string, addresses[index]]))

async function wrongIn(proof: SwarmProof): Promise<string[]> {
  const checks = await verifySwarm(proof, { accounts, blockHash: facts.blockHash })
  return checks.filter(({ verdict }) => verdict === 'wrong' || verdict === 'liar').map(({ name }) => name)
}

test('what came of a swarm is checked later, through a file, too; the liar is named, and what is altered', async () => {
  const { result } = await runWith(says('a'), says('a'), says('b'), says('a'), says('a'))
  const proof = proofOf({ ...result, members: result.members.map(({ receipt: _, ...rest }) => rest) })
  expect(await wrongIn(proof)).toEqual(['liar carol'])
  const file = JSON.stringify(swarmProofToJson(proof, Buffer.from('a')))
  expect(parseSwarmProof(JSON.parse(file))).toEqual(proof)
  const [alice, ...others] = proof.members
  for (const [changes, wrong] of [
    [{ bodyDigest: digestOf(7) }, 'answer'],
    [{ verdict: 'all_equal' }, 'verdict'],
    [{ candidates: addresses.slice(1) }, 'selection'],
    [{ requestDigest: digestOf(99) }, 'vote alice'],
    [{ deployment: digestOf(99) }, 'vote alice'],
    [{ ballot: { ...ballot, agreeing: 2 } }, 'vote alice'],
    [{ members: [{ ...alice, vote: others[0]?.vote }, ...others] }, 'vote alice'],
    [{ members: others }, 'selection'],
    // One that is counted twice.
    [{ members: [alice, alice, ...others.slice(1)] }, 'selection'],
  ] as const)
    expect(await wrongIn({ ...proof, ...changes } as SwarmProof)).toContain(wrong)
})

test('a gateway that forges has signatures, and not those of the accounts in the registry', async () => {
  const { result } = await runWith(...names.map(() => says('a')))
  const forged = await forgeSwarm(result)
  expect(Buffer.from(forged.answer?.body ?? '').toString()).not.toBe('a')
  const wrong = await wrongIn(proofOf(forged))
  for (const name of names) expect(wrong).toContain(`member ${name}`)
  expect(parseGatewayFault('forge-swarm', 31_337)).toBe('forge-swarm')
  expect(() => parseGatewayFault('forge-swarm', 1)).toThrow(
    expect.objectContaining({ code: 'fault_refused' }),
  )
})
