import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import {
  type Name,
  type NameChange,
  type NameReader,
  type NameRecord,
  nameNode,
  type ProviderName,
  parseName,
} from '../../protocol/name.ts'
import { createNameCache, type NameCacheOptions } from './name-cache.ts'

const alice = parseName('alice')
const resolver = '0x00000000000000000000000000000000000000AA'

function provider(name: Name, server = 'http://one.example'): ProviderName {
  return {
    kind: 'provider',
    name,
    owner: '0x00000000000000000000000000000000000000A1',
    resolver,
    address: '0x00000000000000000000000000000000000000A2',
    server,
    publicKey: new Uint8Array(),
    blockNumber: 1n,
  }
}

/** A cache over a chain that the test plays. */
function setup(options: NameCacheOptions = {}) {
  const clock = createTestClock()
  const log = createTestLog()
  const chain = {
    answer: async (name: Name): Promise<NameRecord | undefined> => provider(name),
    reads: 0,
    change: (() => undefined) as (change: NameChange) => void,
  }
  const reader: NameReader = {
    readName(name) {
      chain.reads++
      return chain.answer(name)
    },
    watchNames(onChange) {
      chain.change = onChange
      return { [Symbol.asyncDispose]: async () => undefined }
    },
  }
  const names = createNameCache({ clock, log, reader }, options)
  const resolve = (name: Name) => names.resolve(name, new AbortController().signal)
  return { clock, log, chain, names, resolve, [Symbol.asyncDispose]: () => names[Symbol.asyncDispose]() }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

test('a thousand who ask at once cost one reading, and a thousand afterwards none', async () => {
  await using s = setup()
  await Promise.all(Array.from({ length: 1000 }, () => s.resolve(alice)))
  for (let i = 0; i < 1000; i++) expect(s.names.peek(alice)?.kind).toBe('known')
  expect(s.chain.reads).toBe(1)
})

test('an old answer is given at once and read again behind the back of whoever asked', async () => {
  await using s = setup({ ageMsMax: 1_000 })
  await s.resolve(alice)
  s.chain.answer = async (name) => provider(name, 'http://two.example')
  await s.clock.advance(1_001)
  expect(s.names.peek(alice)).toMatchObject({
    record: { server: 'http://one.example' },
    staleMs: undefined,
  })
  await settled()
  expect(s.names.peek(alice)).toMatchObject({ record: { server: 'http://two.example' } })
  expect(s.chain.reads).toBe(2)
})

test('a very old answer is read again first', async () => {
  await using s = setup({ ageMsMax: 1_000 })
  await s.resolve(alice)
  s.chain.answer = async (name) => provider(name, 'http://two.example')
  await s.clock.advance(10_001)
  expect(await s.resolve(alice)).toMatchObject({ record: { server: 'http://two.example' } })
})

test('a name that nobody owns is remembered for a while, and found as soon as it is registered', async () => {
  await using s = setup({ negativeAgeMsMax: 1_000 })
  s.chain.answer = async () => undefined
  expect((await s.resolve(alice)).kind).toBe('unknown')
  expect((await s.resolve(alice)).kind).toBe('unknown')
  expect(s.chain.reads).toBe(1)
  s.chain.answer = async (name) => provider(name)
  s.chain.change({ kind: 'name', node: nameNode(alice) })
  expect((await s.resolve(alice)).kind).toBe('known')
})

test('a change on chain is read at once; of another name or resolver it costs nothing', async () => {
  await using s = setup()
  await s.resolve(alice)
  s.chain.change({ kind: 'name', node: nameNode(parseName('bob')) })
  s.chain.change({ kind: 'resolver', resolver: '0x00000000000000000000000000000000000000bb' })
  expect(s.chain.reads).toBe(1)
  s.chain.answer = async (name) => provider(name, 'http://two.example')
  s.chain.change({ kind: 'resolver', resolver })
  await settled()
  expect(s.chain.reads).toBe(2)
  expect(s.names.peek(alice)).toMatchObject({ record: { server: 'http://two.example' } })
  s.chain.answer = async () => undefined
  s.chain.change({ kind: 'name', node: nameNode(alice) })
  await settled()
  expect(await s.resolve(alice)).toEqual({ kind: 'unknown' })
})

test('a change while the name is being read is not lost', async () => {
  await using s = setup()
  const old = Promise.withResolvers<ProviderName>()
  s.chain.answer = () => old.promise
  const first = s.resolve(alice)
  s.chain.change({ kind: 'name', node: nameNode(alice) })
  s.chain.answer = async (name) => provider(name, 'http://two.example')
  old.resolve(provider(alice))
  await first
  await settled()
  expect(s.names.peek(alice)).toMatchObject({ record: { server: 'http://two.example' } })
})

test('a change of another name while the name is being read costs nothing', async () => {
  await using s = setup()
  const reading = s.resolve(alice)
  s.chain.change({ kind: 'name', node: nameNode(parseName('bob')) })
  await reading
  await settled()
  expect(s.chain.reads).toBe(1)
})

test('while the chain is away the last known answer is served, says its age, and the chain is not stormed', async () => {
  await using s = setup({ ageMsMax: 1_000, negativeAgeMsMax: 500 })
  await s.resolve(alice)
  s.chain.answer = async () => {
    throw new TypeError('fetch failed')
  }
  await s.clock.advance(60_000)
  expect(await s.resolve(alice)).toMatchObject({ kind: 'known', staleMs: 60_000 })
  for (let i = 0; i < 100; i++) expect((await s.resolve(alice)).kind).toBe('known')
  expect(s.chain.reads).toBe(2)
  expect(s.log.lines.map(({ event }) => event)).toEqual(['name_read_failed'])
  s.chain.answer = async (name) => provider(name)
  await s.clock.advance(501)
  s.names.peek(alice)
  await settled()
  expect(s.names.peek(alice)).toMatchObject({ kind: 'known', staleMs: undefined })
})

test('a name that was never read cannot be known while the chain is away', async () => {
  await using s = setup()
  s.chain.answer = async () => {
    throw new TypeError('fetch failed')
  }
  await expect(s.resolve(alice)).rejects.toMatchObject({ code: 'chain_unreachable' })
})

test('records that are none replace the good ones', async () => {
  await using s = setup({ ageMsMax: 1_000 })
  await s.resolve(alice)
  s.chain.answer = async () => {
    throw new ProtocolError('provider_address_blocked', 'The record is none.', { hint: 'Fix it.' })
  }
  s.chain.change({ kind: 'name', node: nameNode(alice) })
  await settled()
  expect(s.names.peek(alice)).toMatchObject({ kind: 'refused', error: { code: 'provider_address_blocked' } })
})

test('made-up names neither push real ones out nor grow without end', async () => {
  await using s = setup({ namesMax: 10 })
  await s.resolve(alice)
  s.chain.answer = async () => undefined
  for (let i = 0; i < 100; i++) await s.resolve(parseName(`made-up-${i}`))
  expect(s.names.peek(alice)?.kind).toBe('known')
  expect(s.names.peek(parseName('made-up-0'))).toBeUndefined()
  expect(s.names.known()).toHaveLength(1)
})

test('more readings at once than the limit are refused', async () => {
  await using s = setup()
  const never = Promise.withResolvers<undefined>()
  s.chain.answer = () => never.promise
  const waiting = Array.from({ length: 65 }, (_, i) => s.resolve(parseName(`n${i}`)))
  await expect(waiting[64]).rejects.toMatchObject({ code: 'too_many_requests' })
  never.resolve(undefined)
  await Promise.all(waiting.slice(0, 64))
})
