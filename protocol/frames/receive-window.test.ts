import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../limits.ts'
import { createReceiveWindow, createWindowBudget } from './receive-window.ts'

const { streamWindowBytesMin: min, streamWindowBytesMax: max } = limits
const near = { bytes: limits.streamWindowBytesNear, ms: limits.streamWindowNearMs }

/** A reader that takes a whole window at once, within a round trip. */
function readWindow(window: ReturnType<typeof createReceiveWindow>): number {
  const bytes = window.sizeBytes
  expect(window.receive(bytes)).toBe(true)
  return window.consume(bytes, { nowMs: 1, rttMs: 50 })
}

test('a window doubles where it held its sender up, to its maximum, and grants what was read and what it grew by', () => {
  const window = createReceiveWindow(createWindowBudget(4 * max), 0)
  for (let size: number = min; size < max; size *= 2) {
    expect(window.sizeBytes).toBe(size)
    expect(readWindow(window)).toBe(2 * size)
  }
  expect(readWindow(window)).toBe(max)
  expect(window.sizeBytes).toBe(max)
})

test('a slow reader makes no window grow', () => {
  const window = createReceiveWindow(createWindowBudget(4 * max), 0)
  for (const [nowMs, rttMs] of [
    [101, 50],
    [202, undefined],
  ] as const) {
    window.receive(min)
    expect(window.consume(min, { nowMs, rttMs })).toBe(min)
  }
  expect(window.sizeBytes).toBe(min)
})

test.each([0.1, undefined])(
  'with a round trip of %s ms a window grows a little for who reads on',
  (rttMs) => {
    const window = createReceiveWindow(createWindowBudget(4 * max), 0)
    for (let round = 1; round <= 10; round++) {
      const bytes = window.sizeBytes
      window.receive(bytes)
      window.consume(bytes, { nowMs: round * near.ms, rttMs })
    }
    expect(window.sizeBytes).toBe(near.bytes)
  },
)

test('windows of one connection grow out of one budget, and give back what they took', () => {
  const budget = createWindowBudget(min)
  const first = createReceiveWindow(budget, 0)
  const second = createReceiveWindow(budget, 0)
  readWindow(first)
  readWindow(second)
  expect([first.sizeBytes, second.sizeBytes]).toEqual([2 * min, min])
  first.close()
  readWindow(second)
  expect(second.sizeBytes).toBe(2 * min)
})

test('whatever is sent and read, nobody may send more than the window beyond what was read', () => {
  const steps = fc.array(fc.tuple(fc.nat(2 * min), fc.nat(2 * min), fc.nat(100)), { maxLength: 60 })
  fc.assert(
    fc.property(steps, (all) => {
      const window = createReceiveWindow(createWindowBudget(max), 0)
      let unread = 0
      let nowMs = 0
      for (const [sent, read, waitedMs] of all) {
        nowMs += waitedMs
        const isAllowed = window.receive(sent)
        expect(isAllowed || unread + sent > window.sizeBytes / 2).toBe(true)
        if (!isAllowed) return
        unread += sent
        expect(unread).toBeLessThanOrEqual(window.sizeBytes)
        const taken = Math.min(read, unread)
        unread -= taken
        window.consume(taken, { nowMs, rttMs: 50 })
      }
    }),
  )
})
