import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTokenBuckets } from './token-buckets.ts'

const quota = { requests: 4, windowSeconds: 2 }

test('as many as the quota may come at once, then they come back evenly', async () => {
  const clock = createTestClock()
  const buckets = createTokenBuckets({ clock }, quota, 10)
  expect([1, 2, 3, 4].map(() => buckets.take('a').remaining)).toEqual([3, 2, 1, 0])
  expect(buckets.look('a')).toEqual({ isTaken: false, remaining: 0, resetMs: 2000, retryMs: 500 })
  expect(buckets.take('a').isTaken).toBe(false)
  expect(buckets.take('b')).toMatchObject({ isTaken: true, remaining: 3 })
  await clock.advance(499)
  expect(buckets.take('a').isTaken).toBe(false)
  await clock.advance(1)
  expect(buckets.take('a')).toMatchObject({ isTaken: true, remaining: 0 })
})

test('what is forgotten was full: decisions are those of buckets that remember everything', () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c'), waitMs: fc.nat({ max: 3000 }) }), {
    maxLength: 100,
  })
  return fc.assert(
    fc.asyncProperty(steps, async (calls) => {
      const clock = createTestClock()
      const buckets = createTokenBuckets({ clock }, quota, 10)
      const tokens = new Map<string, { count: number; atMs: number }>()
      for (const { key, waitMs } of calls) {
        await clock.advance(waitMs)
        const nowMs = clock.monotonicMs()
        const before = tokens.get(key) ?? { count: 4, atMs: nowMs }
        const count = Math.min(4, before.count + (nowMs - before.atMs) / 500)
        const mayGo = count >= 1 - 1e-9
        expect(buckets.take(key).isTaken).toBe(mayGo)
        tokens.set(key, { count: mayGo ? count - 1 : count, atMs: nowMs })
      }
    }),
    { numRuns: 50 },
  )
})

test('a flood of keys is bounded, and none of them is let through uncounted', async () => {
  const clock = createTestClock()
  const buckets = createTokenBuckets({ clock }, quota, 100)
  for (let n = 0; n < 4; n++) buckets.take('early')
  let passed = 0
  for (let n = 0; n < 50_000; n++) if (buckets.take(`flood ${n}`).isTaken) passed++
  expect(buckets.size).toBeLessThanOrEqual(100 + 1024)
  expect(passed).toBeLessThanOrEqual(100 + 4 * 1024)
  expect(buckets.take('early').isTaken).toBe(false)
  await clock.advance(4000)
  expect(buckets.take('flood 49999').isTaken).toBe(true)
  expect(buckets.size).toBe(1)
})
