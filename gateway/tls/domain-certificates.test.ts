import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { createTestAuthority } from '../../test/support/tls.ts'
import type { PemPair } from './dev-authority.ts'
import { openDomainCertificates } from './domain-certificates.ts'

const hourMs = 3_600_000
const startMs = Date.now()
let pair: PemPair
let next: PemPair
beforeAll(async () => {
  const authority = await createTestAuthority(startMs)
  // Whose names are in it, the authority has checked, and browsers do.
  pair = await authority.sign('shop.example')
  next = await authority.sign('shop.example')
})

async function setup({ ordersPerHourMax = 20 } = {}) {
  const stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'domains-'))
  stack.defer(() => rm(dir, { recursive: true }))
  const clock = createTestClock(startMs)
  const log = createTestLog()
  const orders: string[] = []
  const state = {
    proven: new Set<string>(),
    answer: async (): Promise<PemPair> => pair,
  }
  const open = async () =>
    stack.use(
      await openDomainCertificates(
        {
          ...{ clock, random: () => 0.5, log },
          isProven: async (domain) => state.proven.has(domain) || domain.endsWith('.all.example'),
          order(domain) {
            orders.push(domain)
            return state.answer()
          },
        },
        { dir, domain: 'market.example', ordersPerHourMax },
      ),
    )
  const domains = await open()
  return { dir, clock, log, orders, state, open, domains, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('all who ask at once wait for one order', async () => {
  await using at = await setup()
  at.state.proven.add('shop.example')
  const found = await Promise.all(Array.from({ length: 50 }, () => at.domains.find('shop.example')))
  expect(new Set(found.map((one) => one?.cert))).toEqual(new Set([pair.cert]))
  expect(at.orders).toEqual(['shop.example'])
  expect(at.domains.has('shop.example')).toBe(true)
})

test('nothing is ordered for hosts that nobody has proved, or that are no domains', async () => {
  await using at = await setup()
  const hosts = [
    'shop.example',
    '../../etc.passwd',
    'a.b/../c',
    '1.2.3.4',
    'localhost',
    `${'a.'.repeat(125)}example`,
    '',
  ]
  for (const host of [...hosts, 'any.market.example']) expect(await at.domains.find(host)).toBeUndefined()
  expect(at.orders).toEqual([])
  expect(await readdir(at.dir)).toEqual([])
  // No file has a name that is so long.
  const long = `${`${'a'.repeat(60)}.`.repeat(4)}example`
  at.state.proven.add(long)
  expect([await at.domains.find(long), at.orders]).toEqual([undefined, []])
  // The moment that it is proved, it is ordered.
  at.state.proven.add('shop.example')
  expect((await at.domains.find('shop.example'))?.cert).toBe(pair.cert)
})

test('so many an hour are ordered in all, and a quarter of them for one domain with what is below it', async () => {
  await using at = await setup({ ordersPerHourMax: 8 })
  for (let n = 0; n < 9; n++) await at.domains.find(`${n}.all.example`)
  expect(at.orders.length).toBe(2)
  for (let n = 0; n < 9; n++) {
    at.state.proven.add(`shop${n}.example`)
    await at.domains.find(`www.shop${n}.example`)
    await at.domains.find(`shop${n}.example`)
  }
  expect(at.orders.length).toBe(2 + 6)
  expect(at.log.lines.filter(({ event }) => event === 'domain_certificate_limited').length).toBeGreaterThan(0)
  await at.clock.advance(hourMs)
  await at.domains.find('shop8.example')
  expect(at.orders.at(-1)).toBe('shop8.example')
})

test('what failed is not ordered again for an hour, then for two, and not for long in the end', async () => {
  await using at = await setup()
  at.state.proven.add('shop.example')
  at.state.answer = async () => {
    throw new ProtocolError('certificate_unavailable', 'no proof', { hint: 'Check port 80.' })
  }
  const countAfter = async (durationMs: number) => {
    await at.clock.advance(durationMs)
    expect(await at.domains.find('shop.example')).toBeUndefined()
    return at.orders.length
  }
  expect([await countAfter(0), await countAfter(hourMs - 1), await countAfter(1)]).toEqual([1, 1, 2])
  expect([await countAfter(2 * hourMs - 1), await countAfter(1)]).toEqual([2, 3])
  at.state.answer = async () => pair
  await at.clock.advance(limits.domainOrderRetryDelayMsMax)
  expect((await at.domains.find('shop.example'))?.cert).toBe(pair.cert)
})

test('whoever asks while orders of others hang is not kept waiting for places that strangers chose', async () => {
  await using at = await setup()
  const hanging = Promise.withResolvers<PemPair>()
  at.state.answer = () => hanging.promise
  const names = Array.from({ length: limits.domainOrdersMax + 1 }, (_, n) => `shop${n}.example`)
  for (const name of names) at.state.proven.add(name)
  const waiting = names.slice(0, -1).map((name) => at.domains.find(name))
  while (at.orders.length < limits.domainOrdersMax) await new Promise(setImmediate)
  expect(await at.domains.find(names.at(-1) as string)).toBeUndefined()
  hanging.resolve(pair)
  await Promise.all(waiting)
  expect((await at.domains.find(names.at(-1) as string))?.cert).toBe(pair.cert)
})

test('one that is due is renewed behind the callers, and goes on while that fails', async () => {
  await using at = await setup()
  at.state.proven.add('shop.example')
  await at.domains.find('shop.example')
  const { promise: failed, resolve } = Promise.withResolvers<void>()
  at.state.answer = async () => {
    resolve()
    throw new Error('busy')
  }
  // The authority of tests gives certificates for a year or more.
  while (at.orders.length === 1) {
    await at.clock.advance(10 * 24 * hourMs)
    expect((await at.domains.find('shop.example'))?.cert).toBe(pair.cert)
    await new Promise(setImmediate)
  }
  await failed
  at.state.answer = async () => next
  await at.clock.advance(limits.domainOrderRetryDelayMsMax)
  expect((await at.domains.find('shop.example'))?.cert).toBe(pair.cert)
  await expect.poll(async () => (await at.domains.find('shop.example'))?.cert).toBe(next.cert)
})

test('what is on disk is taken up again, and what is broken there is ordered anew', async () => {
  await using at = await setup()
  at.state.proven.add('shop.example')
  await at.domains.find('shop.example')
  const again = await at.open()
  expect((await again.find('shop.example'))?.cert).toBe(pair.cert)
  expect(at.orders.length).toBe(1)
  await writeFile(join(at.dir, 'shop.example.json'), '{"cert":"')
  const third = await at.open()
  expect((await third.find('shop.example'))?.cert).toBe(pair.cert)
  expect(at.orders.length).toBe(2)
})
