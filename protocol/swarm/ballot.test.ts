import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestOf } from '../../test/support/votes.ts'
import { limits } from '../limits.ts'
import { formatBallot, parseBallot, parseSwarmTerms } from './ballot.ts'
import { digestAnswer } from './compare-answers.ts'
import { formatMember, parseMember } from './member.ts'

test('the terms of a swarm are read as people write them', () => {
  expect(parseSwarmTerms('n=5, k=3, timeout=3')).toEqual({ members: 5, agreeing: 3, timeoutMs: 3_000 })
  expect(parseSwarmTerms('n=3')).toEqual({ members: 3, agreeing: 2, timeoutMs: limits.swarmTimeoutMsDefault })
  expect(parseSwarmTerms('timeout=0.25,k=1,n=1')).toEqual({ members: 1, agreeing: 1, timeoutMs: 250 })
})

test.each([
  ...['', 'n=', 'n=0', 'n=17', 'n=3, n=3', 'k=2', 'n=3, k=0', 'n=3, x=1', 'n=3, timeout=0'],
  ...['n=3, timeout=61', 'n=-3', 'n=3;k=2', `n=3${' '.repeat(300)}`, 'n=3, k=4'],
])('"%s" is no swarm', (text) => {
  expect(() => parseSwarmTerms(text)).toThrow(expect.objectContaining({ code: 'swarm_invalid' }))
})

test('a ballot goes through its header; anything else is none', () => {
  const terms = fc.integer({ min: 1, max: 16 }).chain((members) =>
    fc.record({
      members: fc.constant(members),
      agreeing: fc.integer({ min: 1, max: members }),
      timeoutMs: fc.integer({ min: 1, max: limits.swarmTimeoutMsMax }),
      block: fc.bigInt({ min: 0n, max: 10n ** 15n - 1n }),
      swarm: fc.nat(255).map(digestOf),
    }),
  )
  fc.assert(
    fc.property(terms, (ballot) => {
      expect(parseBallot(formatBallot(ballot))).toEqual(ballot)
    }),
  )
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(() => parseBallot(text)).toThrow(expect.objectContaining({ code: 'ballot_invalid' }))
    }),
  )
})

test('answers are compared by status, type and body, or by what the deployment names', () => {
  const json = (body: unknown, headers: string[] = []) => ({
    status: 200,
    rawHeaders: ['Content-Type', 'application/json', ...headers],
    body: Buffer.from(JSON.stringify(body)),
  })
  const plain = json({ price: 7, at: 1 })
  expect(digestAnswer(plain)).toBe(
    digestAnswer({ ...plain, rawHeaders: ['content-type', 'application/json', 'date', 'x'] }),
  )
  for (const other of [
    { ...plain, status: 201 },
    { ...plain, rawHeaders: [] },
    json({ price: 7, at: 2 }),
    json({ price: 7, at: 1 }, ['Location', '/x']),
  ])
    expect(digestAnswer(other)).not.toBe(digestAnswer(plain))
  const rule = { fields: ['/price'], headers: ['x-unit'] }
  expect(digestAnswer(json({ at: 2, price: 7 }), rule)).toBe(digestAnswer(plain, rule))
  for (const other of [
    json({ price: 8, at: 1 }),
    json({ at: 1 }),
    json({ price: null }),
    json({ price: 7 }, ['X-Unit', 'EUR']),
    { ...plain, body: Buffer.from('price=7') },
  ])
    expect(digestAnswer(other, rule)).not.toBe(digestAnswer(plain, rule))
  const deep = { fields: ['/a~1b/0/c~0d'] }
  expect(digestAnswer(json({ 'a/b': [{ 'c~d': 1 }], x: 1 }), deep)).toBe(
    digestAnswer(json({ 'a/b': [{ 'c~d': 1 }], x: 2 }), deep),
  )
})

test('what a gateway says of a member is read back, and nothing else', () => {
  const report = {
    name: 'alice',
    address: '0x00000000000000000000000000000000000000E5',
    state: 'failed',
    code: 'grant_missing',
  }
  const line = formatMember(report as never)
  expect(parseMember(line)).toEqual(report)
  for (const text of [
    '',
    `${line}; x`,
    line.replace('failed', 'won'),
    line.replace('alice', '-'),
    line.replace('0x', ''),
  ])
    expect(parseMember(text)).toBeUndefined()
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseMember(text)).toBeUndefined()
    }),
  )
})
