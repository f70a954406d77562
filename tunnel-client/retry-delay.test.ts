import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ErrorCode } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { hasStood, retryDelayMs } from './retry-delay.ts'

const trouble = (code: ErrorCode, failingMsMax: number) =>
  fc.record({ failures: fc.nat(100), failingMs: fc.nat(failingMsMax), code: fc.constant(code) })

test('a gateway that restarts within five minutes is dialled again within two seconds of its return', () => {
  fc.assert(
    fc.property(trouble('tunnel_lost', limits.tunnelRestartMsMax - 1), fc.nat(999), (facts, random) => {
      expect(retryDelayMs(facts, () => random / 1000)).toBeLessThanOrEqual(2_000)
    }),
  )
})

test('one that stays away, or says no, is not pressed', () => {
  const often = { failures: 20, failingMs: limits.tunnelRestartMsMax }
  expect(retryDelayMs({ ...often, code: 'tunnel_lost' }, () => 0.5)).toBe(60_000)
  expect(retryDelayMs({ ...often, failingMs: 0, code: 'too_many_requests' }, () => 0.5)).toBe(60_000)
})

test('the first waits are short, and spread', () => {
  const first = { failures: 0, failingMs: 0, code: 'tunnel_lost' } as const
  expect([0, 0.999].map((random) => Math.round(retryDelayMs(first, () => random)))).toEqual([5, 15])
})

test('a line that is cut again and again, having stood in between, is back at once each time', () => {
  let failures = 0
  for (let cut = 0; cut < 100; cut++) {
    const waitedMs = retryDelayMs({ failures, failingMs: 0, code: 'tunnel_lost' }, () => 0.999)
    expect(waitedMs).toBeLessThan(15)
    failures = hasStood({ upMs: 400, waitedMs }) ? 0 : failures + 1
  }
})

test('a gateway that drops what it took is dialled ever more seldom, and four times a second at most', () => {
  fc.assert(
    fc.property(fc.nat(5_000), fc.nat(999), (upMs, random) => {
      let failures = 0
      let elapsedMs = 0
      const dials = 50
      for (let dial = 0; dial < dials; dial++) {
        const waitedMs = retryDelayMs({ failures, failingMs: 0, code: 'tunnel_lost' }, () => random / 1000)
        elapsedMs += waitedMs + upMs
        failures = hasStood({ upMs, waitedMs }) ? 0 : failures + 1
      }
      expect((dials - 8) / (elapsedMs / 1000)).toBeLessThan(4)
    }),
  )
})
