import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { createDomainCache } from './domain-cache.ts'
import { createTxtLookup } from './lookup-txt.ts'

/** A cache over name servers that the test plays. */
function setup() {
  const clock = createTestClock()
  const log = createTestLog()
  const dns = {
    answer: async (_: string): Promise<readonly string[]> => ['khachapuri=thumbs'],
    looks: 0,
  }
  const lookupTxt = (host: string) => {
    dns.looks++
    return dns.answer(host)
  }
  const domains = createDomainCache({ clock, log, lookupTxt })
  const resolve = (domain: string) => domains.resolve(domain, new AbortController().signal)
  return { clock, log, dns, domains, resolve }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

test('a thousand who ask at once cost one look, and a thousand afterwards none', async () => {
  const { dns, domains, resolve } = setup()
  await Promise.all(Array.from({ length: 1000 }, () => resolve('oracle.test')))
  for (let i = 0; i < 1000; i++) expect(domains.peek('oracle.test')).toMatchObject({ kind: 'known' })
  expect(dns.looks).toBe(1)
})

test('an old answer is given at once and looked up again; a domain that was taken away ends', async () => {
  const { clock, dns, domains, resolve } = setup()
  await resolve('oracle.test')
  dns.answer = async () => []
  await clock.advance(limits.domainAgeMs)
  expect(domains.peek('oracle.test')).toMatchObject({ kind: 'known' })
  await settled()
  expect(await resolve('oracle.test')).toEqual({ kind: 'unknown' })
})

test('a domain that says nothing is remembered as such for a while, and found as soon as somebody insists', async () => {
  const { clock, dns, domains, resolve } = setup()
  dns.answer = async () => ['v=spf1 -all']
  for (let i = 0; i < 10; i++) expect((await resolve('oracle.test')).kind).toBe('unknown')
  expect(dns.looks).toBe(1)
  dns.answer = async () => ['khachapuri=thumbs']
  expect((await resolve('oracle.test')).kind).toBe('unknown')
  expect((await domains.refresh('oracle.test', new AbortController().signal)).kind).toBe('known')
  expect((await resolve('oracle.test')).kind).toBe('known')
  dns.answer = async () => []
  await domains.refresh('oracle.test', new AbortController().signal)
  dns.answer = async () => ['khachapuri=thumbs']
  await clock.advance(limits.domainUnknownAgeMs)
  expect((await resolve('oracle.test')).kind).toBe('known')
})

test('while the name servers are away the last answer is given, and a domain that nobody asked for before is a 503', async () => {
  const { clock, dns, domains, resolve } = setup()
  await resolve('oracle.test')
  dns.answer = async () => {
    throw Object.assign(new Error('timeout'), { code: 'ETIMEOUT' })
  }
  await clock.advance(limits.domainAgeMs)
  expect(domains.peek('oracle.test')?.kind).toBe('known')
  await settled()
  expect((await resolve('oracle.test')).kind).toBe('known')
  await expect(resolve('other.test')).rejects.toMatchObject({ code: 'dns_unreachable' })
  // However long it takes them, as long as somebody asks.
  for (let n = 0; n < 20; n++) {
    await clock.advance(limits.domainAgeMs)
    expect((await resolve('oracle.test')).kind).toBe('known')
    await settled()
  }
})

test('made-up domains neither push real ones out nor ask more than a bound at once', async () => {
  const { dns, domains, resolve } = setup()
  await resolve('oracle.test')
  const never = Promise.withResolvers<readonly string[]>()
  dns.answer = () => never.promise
  const waiting = Array.from({ length: limits.domainLooksMax + 1 }, (_, i) => resolve(`n${i}.test`))
  await expect(waiting.at(-1)).rejects.toMatchObject({ code: 'too_many_requests' })
  never.resolve([])
  await Promise.all(waiting.slice(0, -1))
  expect(domains.peek('oracle.test')?.kind).toBe('known')
})

test('records are found in the answers of a real name server, in however many pieces', async () => {
  const server = createSocket('udp4')
  const texts = new Map([
    ['_khachapuri.oracle.test', [['khachapuri=', 'thumbs'], ['v=spf1']]],
    ['_khachapuri.broken.test', [['khachapuri=::garbage']]],
  ])
  server.on('message', (query, { port }) => server.send(answerTxt(query, texts), port, '127.0.0.1'))
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  using _ = { [Symbol.dispose]: () => server.close() }
  const resolver = new Resolver({ timeout: 500, tries: 1 })
  resolver.setServers([`127.0.0.1:${server.address().port}`])
  const lookupTxt = createTxtLookup(resolver)
  const domains = createDomainCache({ clock: createTestClock(), log: createTestLog(), lookupTxt })
  const resolve = (domain: string) => domains.resolve(domain, new AbortController().signal)
  expect(await resolve('oracle.test')).toEqual({ kind: 'known', record: { kind: 'name', name: 'thumbs' } })
  expect(await resolve('nothing.test')).toEqual({ kind: 'unknown' })
  expect(await resolve('broken.test')).toMatchObject({
    kind: 'refused',
    error: { code: 'name_records_invalid' },
  })
})

/** RFC 1035, as far as one question with answers of type TXT goes. */
function answerTxt(query: Buffer, texts: ReadonlyMap<string, string[][]>): Buffer {
  const labels: string[] = []
  let at = 12
  for (let size = query[at]!; size > 0; size = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size))
    at += 1 + size
  }
  const answers = texts.get(labels.join('.')) ?? []
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  head.writeUInt16BE(answers.length > 0 ? 0x8180 : 0x8183, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(answers.length, 6)
  const records = answers.map((pieces) => {
    const data = Buffer.concat(pieces.flatMap((piece) => [Buffer.of(piece.length), Buffer.from(piece)]))
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc00c, 0)
    record.writeUInt16BE(16, 2)
    record.writeUInt16BE(1, 4)
    record.writeUInt16BE(data.length, 10)
    return Buffer.concat([record, data])
  })
  return Buffer.concat([head, query.subarray(12, at + 5), ...records])
}
