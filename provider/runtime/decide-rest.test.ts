import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { countDeath, type Deaths, restEndMs } from './decide-rest.ts'

const { programDeathsFreeMax: free, programRestMsMin: restMsMin, programQuietMsMin: quietMs } = limits
const restMsMax = 8_000

/** Deaths one after the other: each process starts once its program has rested, and lives for as long. */
const livesMs = (maxMs: number) => fc.array(fc.integer({ min: 0, max: maxMs }), { maxLength: 30 })

function liveThrough(lives: readonly number[], callsAnswered = 0): Deaths[] {
  const seen: Deaths[] = []
  for (const lifeMs of lives) {
    const before = seen.at(-1)
    const startedMs = before ? restEndMs(before) : 0
    seen.push(countDeath(before, { startedMs, endedMs: startedMs + lifeMs, callsAnswered }, restMsMax))
  }
  return seen
}

test('who dies soon each time is started again at once a few times, then rests twice as long each time, up to the bound', () => {
  fc.assert(
    fc.property(livesMs(quietMs), (lives) => {
      const expected = lives.map((_, index) =>
        index < free ? 0 : Math.min(restMsMax, restMsMin * 2 ** (index - free)),
      )
      expect(liveThrough(lives).map(({ restMs }) => restMs)).toEqual(expected)
    }),
  )
})

test('who lives for long, or answers enough, never rests', () => {
  const long = fc.array(fc.integer({ min: quietMs + 1, max: 10 * quietMs }), { maxLength: 30 })
  fc.assert(
    fc.property(long, livesMs(quietMs), (calm, lives) => {
      const well = liveThrough(lives, limits.programCallsWellMin)
      for (const { restMs } of [...liveThrough(calm), ...well]) expect(restMs).toBe(0)
    }),
  )
})

test('processes that ran together count once, however many end', () => {
  fc.assert(
    fc.property(livesMs(quietMs), fc.array(fc.integer({ min: 0, max: 5_000 })), (lives, delaysMs) => {
      const last = liveThrough(lives).at(-1)
      fc.pre(last !== undefined)
      for (const delayMs of delaysMs) {
        const end = { startedMs: last.lastMs - 1, endedMs: last.lastMs + delayMs, callsAnswered: 0 }
        expect(countDeath(last, end, restMsMax)).toBe(last)
      }
    }),
  )
})

test('a rest of 0 is none, however often something dies', () => {
  const end = { startedMs: 5, endedMs: 5, callsAnswered: 0 }
  const often = { count: 1_000_000, lastMs: 0, restMs: 0 }
  expect(countDeath(often, end, 0)).toMatchObject({ restMs: 0 })
  expect(countDeath(often, end, restMsMax)).toMatchObject({ restMs: restMsMax })
})
