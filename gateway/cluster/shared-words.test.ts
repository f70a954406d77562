import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import type { DenySettings } from '../limits/deny-list.ts'
import type { Spend } from '../limits/spend-book.ts'
import { createSharedWords } from './shared-words.ts'

const nothing: DenySettings = { cids: [], providers: [], clients: [] }

/** One gateway's words, with a store that keeps them, and what it has heard. */
function setup() {
  const said = new Map<string, string>()
  const heard = { deny: [] as readonly DenySettings[], announced: [] as string[], spent: [] as Spend[] }
  const untold: Spend[][] = []
  const store = {
    secret: new Uint8Array(32),
    put: async (key: string, value: string) => void said.set(key, value),
    delete: async (key: string) => void said.delete(key),
    valueBytesMax: 1_000,
    isConnected: () => true,
    losses: () => 0,
    purge: async () => undefined,
    watch: () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  }
  const words = createSharedWords(
    { log: createTestLog(), store, nodeId: 'me' },
    {
      deny: nothing,
      onDeny: (others) => {
        heard.deny = others
      },
      onAnnounced: (text) => void heard.announced.push(text),
      quotas: { takeSpent: () => untold.shift() ?? [], charge: (spends) => void heard.spent.push(...spends) },
    },
  )
  return { said, heard, untold, words }
}

const spent = (number: number, tokens: number) =>
  JSON.stringify({ number, spends: [['client', '192.0.2.1', tokens]] })
const news = { isNew: true }

test('what another let through is taken off once, however often it is told, and not what was told before this one came', () => {
  const { heard, words } = setup()
  words.hear('spent', 'other', spent(1, 5), { isNew: false })
  expect(heard.spent).toEqual([])
  for (const number of [1, 1, 2, 1]) words.hear('spent', 'other', spent(number, number), news)
  expect(heard.spent).toEqual([
    ['client', '192.0.2.1', 1],
    ['client', '192.0.2.1', 2],
  ])
  // One that was started again counts from the beginning.
  words.forget('other')
  words.hear('spent', 'other', spent(1, 7), news)
  expect(heard.spent.at(-1)).toEqual(['client', '192.0.2.1', 7])
})

test('words that nobody understands change nothing: what was denied stays denied, and nothing is taken off', () => {
  const { heard, words } = setup()
  const deny = { ...nothing, providers: ['mallory'] }
  words.hear('deny', 'other', JSON.stringify(deny), { isNew: false })
  expect(heard.deny).toEqual([deny])
  for (const word of ['', '{', '[]', '{"cids":1}', JSON.stringify({ ...deny, providers: ['::'] })])
    words.hear('deny', 'other', word, news)
  expect(heard.deny).toEqual([deny])
  for (const word of ['', '{}', spent(0, 1), spent(1, -1), spent(1, limits.spendTokensMax + 1)])
    words.hear('spent', 'other', word, news)
  words.hear('alive', 'other', 'x'.repeat(limits.announcementBytesMax + 1), news)
  words.hear('alive', 'other', 'kept from before', { isNew: false })
  expect([heard.spent, heard.announced]).toEqual([[], []])
  words.hear('deny', 'other', undefined, news)
  expect(heard.deny).toEqual([])
})

test('what somebody else wrote under its name it says again, and what it let through it numbers', async () => {
  const { said, untold, words } = setup()
  await words.tellDeny()
  expect(said.get('deny.me')).toBe(JSON.stringify(nothing))
  said.delete('deny.me')
  await words.tellDeny()
  expect(said.has('deny.me')).toBe(false)
  words.hearOwn('deny', '{"forged":true}')
  await words.tellDeny()
  expect(said.get('deny.me')).toBe(JSON.stringify(nothing))
  untold.push([['client', 'a', 1]], [['client', 'a', 2]])
  await words.tellSpent()
  expect(JSON.parse(said.get('spent.me') ?? '')).toEqual({ number: 1, spends: [['client', 'a', 1]] })
  await words.tellSpent()
  expect(JSON.parse(said.get('spent.me') ?? '')).toEqual({ number: 2, spends: [['client', 'a', 2]] })
  await words.takeBack()
  expect([...said]).toEqual([])
})
