import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createFailureBuckets, createProvenNames } from './failure-buckets.ts'

function setup({ ofName = 3, ofAll = 10 } = {}) {
  const clock = createTestClock()
  const proven = createProvenNames()
  const buckets = createFailureBuckets(
    { clock, proven },
    { failuresPerNameMax: ofName, failuresPerSecondMax: ofAll },
  )
  /** @returns whether it was tried */
  async function run(name: string, isGood: boolean): Promise<boolean> {
    using place = await buckets.take(name)
    if (!place) return false
    await Promise.resolve()
    if (isGood) place.giveBack()
    return true
  }
  const runAll = async (names: readonly string[], isGood: boolean) =>
    (await Promise.all(names.map((name) => run(name, isGood)))).filter(Boolean).length
  return { clock, proven, run, runAll }
}

const times = <T>(count: number, value: T) => Array.from({ length: count }, () => value)
const others = (count: number) => Array.from({ length: count }, (_, index) => `other ${index}`)

test('what succeeds is never refused, however much comes at once', async () => {
  const { runAll } = setup()
  expect(await runAll(times(500, 'a'), true)).toBe(500)
  expect(await runAll(others(500), true)).toBe(500)
})

test('who fails shuts out its own name, also all at once, and no other; a second later it may try again', async () => {
  const { runAll, run, clock } = setup()
  expect(await runAll(times(100, 'bad'), false)).toBe(3)
  expect(await run('bad', true)).toBe(false)
  expect(await run('good', true)).toBe(true)
  await clock.advance(1_000)
  expect(await runAll(times(100, 'bad'), false)).toBe(3)
})

test('names without end share a bound, and who has proved itself passes it', async () => {
  const { runAll, run, proven, clock } = setup()
  proven.set('payer', true)
  expect(await runAll(others(1_000), false)).toBe(10)
  expect(await run('new', true)).toBe(false)
  expect(await run('payer', true)).toBe(true)
  await clock.advance(1_000)
  expect(await run('new', true)).toBe(true)
})

test('names that one of a crowd makes up take no more than the crowd’s share of what all have', async () => {
  const clock = createTestClock()
  const buckets = createFailureBuckets(
    { clock, proven: createProvenNames() },
    { failuresPerNameMax: 3, failuresPerCrowdMax: 5, failuresPerSecondMax: 10 },
  )
  const fail = async (name: string, crowd: string) => {
    using place = await buckets.take(name, crowd)
    return place !== undefined
  }
  const tried = await Promise.all(others(100).map((name) => fail(name, 'crowd')))
  expect(tried.filter(Boolean)).toHaveLength(5)
  expect(await fail('other', 'other crowd')).toBe(true)
})

test('they that have proved themselves are bounded, too', async () => {
  const { runAll, proven } = setup()
  for (const name of others(100)) proven.set(name, true)
  expect(await runAll(others(100), false)).toBe(10)
})

test('a place is given back once', async () => {
  const clock = createTestClock()
  const buckets = createFailureBuckets(
    { clock, proven: createProvenNames() },
    { failuresPerNameMax: 1, failuresPerSecondMax: 10 },
  )
  const place = await buckets.take('a')
  place?.giveBack()
  place?.giveBack()
  place?.[Symbol.dispose]()
  expect(await buckets.take('a')).toBeDefined()
})

test('whatever comes in whatever order, no name and no crowd fails more often than it may', async () => {
  const step = fc.oneof(
    fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e'), isGood: fc.boolean() }),
    fc.record({ waitMs: fc.nat(500) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { clock, run } = setup({ ofName: 2, ofAll: 5 })
      const failed: { name: string; atMs: number }[] = []
      const underWay: Promise<void>[] = []
      for (const one of steps) {
        if ('waitMs' in one) {
          await Promise.all(underWay.splice(0))
          await clock.advance(one.waitMs)
          continue
        }
        const { name, isGood } = one
        const tried = run(name, isGood).then((wasTried) => {
          if (wasTried && !isGood) failed.push({ name, atMs: clock.monotonicMs() })
        })
        underWay.push(tried)
      }
      await Promise.all(underWay)
      // A full bucket and what one second empties.
      const countWithin = (atMs: number, name?: string) =>
        failed.filter((f) => f.atMs >= atMs && f.atMs < atMs + 1_000 && (!name || f.name === name)).length
      for (const { atMs, name } of failed) {
        expect(countWithin(atMs, name)).toBeLessThanOrEqual(2 * 2)
        expect(countWithin(atMs)).toBeLessThanOrEqual(2 * 5)
      }
    }),
  )
})
