import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { createBodyPace } from './body-pace.ts'

const windowSeconds = limits.bodyPaceWindowMs / 1000
const rate = 100

/** A body that is read and gets `bytes` each second, where they are given; null for a second in which nobody reads it. */
async function play(seconds: readonly (number | null)[]): Promise<number | undefined> {
  const clock = createTestClock()
  const pace = createBodyPace({ clock })
  const body = { readableFlowing: true, socket: { bytesRead: 500 } }
  let slowAt: number | undefined
  pace.watch(body, rate, () => {
    expect(slowAt).toBeUndefined()
    slowAt = clock.monotonicMs() / 1000
  })
  for (const bytes of seconds) {
    body.readableFlowing = bytes !== null
    await clock.advance(1_000)
    body.socket.bytesRead += bytes ?? 0
    pace.sweep()
  }
  return slowAt
}

const full = rate * windowSeconds

test.each([
  ['nothing comes', Array(30).fill(0), windowSeconds],
  ['a byte comes now and then', Array(30).fill(1), windowSeconds],
  ['much came, and then nothing', [1e9, ...Array(30).fill(0)], 2 * windowSeconds],
  ['just enough comes', Array(100).fill(rate), undefined],
  ['all of a window comes at once', Array(100).fill([0, 0, 0, 0, 0, full, 0, 0, 0, 0]).flat(), undefined],
  ['nobody reads it', Array(100).fill(null), undefined],
  [
    'it is read again and again for less than a window',
    Array(20)
      .fill([...Array(windowSeconds - 1).fill(0), null])
      .flat(),
    undefined,
  ],
])('%s', async (_, seconds, slowAt) => {
  expect(await play(seconds)).toBe(slowAt)
})

test('whoever keeps up with the rate in each second is never given up; whoever stays below half of it always is', () =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.option(fc.nat({ max: 49 })), { maxLength: 100 }), async (seconds) => {
      const isReadLong = seconds
        .map((bytes) => (bytes === null ? ' ' : 'r'))
        .join('')
        .includes('r'.repeat(windowSeconds + 1))
      if (isReadLong) expect(await play(seconds)).toBeDefined()
      expect(await play(seconds.map((bytes) => bytes && bytes + rate))).toBeUndefined()
    }),
    { numRuns: 50 },
  ))

test('what needs no watching is forgotten', () => {
  const clock = createTestClock()
  const pace = createBodyPace({ clock })
  pace.watch({ readableFlowing: true, socket: {} }, rate, () => expect.unreachable())()
  return clock.advance(60_000).then(pace.sweep)
})
