import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import {
  circuitOf,
  noteAnswer,
  noteBusy,
  noteEnd,
  noteFailure,
  noteStart,
  type ProviderHealth,
  shareOf,
  unknownHealth,
} from './provider-health.ts'

const failAt = (health: ProviderHealth, nowMs: number) => noteFailure(health, { nowMs, random: () => 1 })

test('three failures in a row break it, each next break is twice as long, and an answer mends it', () => {
  let health = failAt(failAt(unknownHealth, 0), 0)
  expect(circuitOf(health, 0)).toBe('closed')
  const brokenMs: number[] = []
  let nowMs = 0
  for (let i = 0; i < 8; i++) {
    health = failAt(health, nowMs)
    brokenMs.push(health.brokenUntilMs - nowMs)
    expect(circuitOf(health, health.brokenUntilMs - 1)).toBe('open')
    nowMs = health.brokenUntilMs
    expect(circuitOf(health, nowMs)).toBe('half_open')
  }
  expect(brokenMs).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  health = noteAnswer(health, { latencyMs: 5, nowMs })
  expect(circuitOf(health, nowMs)).toBe('closed')
  expect(health).toMatchObject({ failuresInRow: 0, breaks: 0 })
})

test('what was under way when it broke does not break it for longer', () => {
  const broken = [1, 2, 3].reduce((health) => failAt(health, 0), unknownHealth)
  expect(failAt(broken, 500).brokenUntilMs).toBe(broken.brokenUntilMs)
})

test('an answer between failures begins the count anew', () => {
  const twice = failAt(failAt(unknownHealth, 0), 0)
  const again = failAt(failAt(noteAnswer(twice, { latencyMs: 1, nowMs: 0 }), 0), 0)
  expect(circuitOf(again, 0)).toBe('closed')
})

test('who recovered gets a tenth at first and all of its share in the end', () => {
  const broken = [1, 2, 3].reduce((health) => failAt(health, 0), unknownHealth)
  const back = noteAnswer(broken, { latencyMs: 5, nowMs: 2_000 })
  const shares = [0, 1_000, 5_000, 9_999, 10_000, 60_000].map((ms) => shareOf(back, 2_000 + ms))
  expect(shares).toEqual([0.1, 0.1, 0.5, 0.9999, 1, 1])
  expect(shareOf(unknownHealth, 0)).toBe(1)
})

test('one that is full is spared for as long as it asks, within reason', () => {
  expect(noteBusy(unknownHealth, { nowMs: 10, retryAfterMs: 1_000 }).busyUntilMs).toBe(1_010)
  expect(noteBusy(unknownHealth, { nowMs: 10, retryAfterMs: 1e12 }).busyUntilMs).toBe(
    10 + limits.routeBreakMsMax,
  )
})

test('whatever happens, calls in flight are never negative, breaks are bounded, and one answer mends all', () => {
  const step = fc.constantFrom('start', 'end', 'answer', 'failure')
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.nat({ max: 40_000 })), { maxLength: 60 }), (steps) => {
      let health = unknownHealth
      let nowMs = 0
      for (const [kind, afterMs] of steps) {
        nowMs += afterMs
        if (kind === 'start') health = noteStart(health, nowMs)
        else if (kind === 'end') health = noteEnd(health)
        else if (kind === 'answer') health = noteAnswer(health, { latencyMs: 1, nowMs })
        else health = noteFailure(health, { nowMs, random: () => 0.5 })
        expect(health.callsInFlight).toBeGreaterThanOrEqual(0)
        expect(health.brokenUntilMs - nowMs).toBeLessThanOrEqual(limits.routeBreakMsMax)
        expect(shareOf(health, nowMs)).toBeGreaterThan(0)
      }
      expect(circuitOf(noteAnswer(health, { latencyMs: 1, nowMs }), nowMs)).toBe('closed')
    }),
  )
})
