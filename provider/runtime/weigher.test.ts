import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KiB } from '../../protocol/base/bytes.ts'
import { limits } from '../../protocol/limits.ts'
import { createWeigher } from './weigher.ts'

const { programBytesPerSecondFull, programPouringWeightPercent, programWeightMsMin } = limits
const tickMs = limits.watchdogIntervalMs
const bytesPerTickFull = (programBytesPerSecondFull * tickMs) / 1_000

test('whoever pours weighs less, and for a while afterwards', () => {
  const weigher = createWeigher(0)
  const seen: number[] = []
  for (let nowMs = tickMs; nowMs <= 100 * tickMs; nowMs += tickMs) {
    if (nowMs > 3 * tickMs && nowMs <= 6 * tickMs) weigher.take(2 * bytesPerTickFull)
    seen.push(weigher.look(nowMs))
  }
  const first = 3
  const last = 5 + programWeightMsMin / tickMs
  expect(seen.slice(0, first)).toEqual([100, 100, 100])
  expect(new Set(seen.slice(first, last))).toEqual(new Set([programPouringWeightPercent]))
  expect(new Set(seen.slice(last))).toEqual(new Set([100]))
})

test('whoever never sends more than the bound weighs as all others, however late it is looked at', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(500), fc.double({ min: 0, max: 1, noNaN: true }))), (looks) => {
      const weigher = createWeigher(0)
      let nowMs = 0
      for (const [elapsedMs, share] of looks) {
        weigher.take(Math.floor((share * programBytesPerSecondFull * elapsedMs) / 1_000))
        nowMs += elapsedMs
        expect(weigher.look(nowMs)).toBe(100)
      }
    }),
  )
})

test('one small answer right after a look is no flood', () => {
  const weigher = createWeigher(0)
  weigher.take(64 * KiB)
  expect(weigher.look(1)).toBe(100)
})
