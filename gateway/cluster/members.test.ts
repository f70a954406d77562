import { type Address, getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { createMembers } from './members.ts'

const facts = { hopUrl: 'http://10.0.0.1:7000/', tunnel: 'wss://gw1.example/_/tunnel' }
const alice = getAddress('0x00000000000000000000000000000000000000a1')

test('a gateway counts while it gives signs of life, and what was kept of a dead one is none', async () => {
  const clock = createTestClock()
  const members = createMembers({ clock, log: createTestLog() })
  members.hear('old', facts, { isNew: false })
  members.route(alice, 'old', true)
  expect(members.live()).toEqual([])
  expect(members.homesOf(alice)).toEqual([])
  members.hear('new', facts, { isNew: true })
  members.route(alice, 'new', true)
  expect(members.homesOf(alice)).toEqual([{ nodeId: 'new', ...facts }])
  await clock.advance(limits.clusterSilenceMsMax - 1)
  expect(members.live().length).toBe(1)
  await clock.advance(1)
  expect(members.live()).toEqual([])
  members.hear('new', facts, { isNew: true })
  expect(members.homesOf(alice).length).toBe(1)
  members.route(alice, 'new', false)
  expect(members.homesOf(alice)).toEqual([])
})

test('one that cannot be reached counts again with its next sign of life; one that is silent for long is forgotten', async () => {
  const clock = createTestClock()
  const members = createMembers({ clock, log: createTestLog() })
  members.hear('a', facts, { isNew: true })
  members.suspect('a')
  expect(members.live()).toEqual([])
  members.hear('a', facts, { isNew: true })
  expect(members.live().length).toBe(1)
  await clock.advance(limits.clusterForgetMs + 1)
  expect(members.gone()).toEqual(['a'])
  members.forget('a')
  expect(members.gone()).toEqual([])
})

test('of one that died long ago and of which only routes are left, these are found, so that they can be taken away', async () => {
  const clock = createTestClock()
  const members = createMembers({ clock, log: createTestLog() })
  members.route(alice, 'dead', true)
  expect([members.live(), members.homesOf(alice)]).toEqual([[], []])
  await clock.advance(limits.clusterForgetMs + 1)
  expect(members.gone()).toEqual(['dead'])
  expect(members.forget('dead')).toEqual([alice])
  expect(members.gone()).toEqual([])
})

test('who could not hear anybody believes that all are still there', async () => {
  const clock = createTestClock()
  const members = createMembers({ clock, log: createTestLog() })
  members.hear('a', facts, { isNew: true })
  await clock.advance(60_000)
  members.pardon()
  expect(members.live().length).toBe(1)
  await clock.advance(limits.clusterForgetMs + 1)
  members.pardon()
  expect(members.gone()).toEqual([])
})

test('who has left nothing but a word is found, too', async () => {
  const clock = createTestClock()
  const members = createMembers({ clock, log: createTestLog() })
  expect(members.note('dead')).toBe(true)
  expect(members.live()).toEqual([])
  await clock.advance(limits.clusterForgetMs + 1)
  expect(members.gone()).toEqual(['dead'])
})

test('made-up members and routes take no more than their place, and it is told once', () => {
  const log = createTestLog()
  const members = createMembers({ clock: createTestClock(), log })
  members.hear('old', facts, { isNew: true })
  for (let n = 0; n < 2 * limits.clusterMembersMax; n++) members.hear(`made-up-${n}`, facts, { isNew: true })
  expect(members.live().length).toBe(limits.clusterMembersMax)
  expect(members.note('one more')).toBe(false)
  members.route(alice, 'one more', true)
  expect(members.homesOf(alice)).toEqual([])

  // Those that were there before go on, and there is place again when somebody goes.
  members.hear('old', facts, { isNew: true })
  members.forget('made-up-0')
  expect(members.note('one more')).toBe(true)

  const provider = (n: number): Address => `0x${n.toString(16).padStart(40, '0')}`
  for (let n = 1; n <= limits.clusterRoutesMax + 1; n++) members.route(provider(n), 'old', true)
  expect(members.homesOf(provider(limits.clusterRoutesMax)).length).toBe(1)
  expect(members.homesOf(provider(limits.clusterRoutesMax + 1))).toEqual([])
  members.route(provider(1), 'old', false)
  members.route(provider(limits.clusterRoutesMax + 1), 'old', true)
  expect(members.homesOf(provider(limits.clusterRoutesMax + 1)).length).toBe(1)
  expect(log.lines.map(({ event }) => event)).toEqual(['cluster_crowded'])
})
