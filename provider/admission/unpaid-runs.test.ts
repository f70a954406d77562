import fc from 'fast-check'
import type { Hex } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { addressOf } from '../../test/support/money.ts'
import { createUnpaidRuns } from './unpaid-runs.ts'

const specOf = (number: number): Hex => `0x${number.toString(16).padStart(64, '0')}`
const runOf = (payer: number, spec = 1) => ({ payer: addressOf(payer + 1), spec: specOf(spec) })

function setup({ perPayer = 3, perDeployment = 10 } = {}) {
  const clock = createTestClock()
  const runs = createUnpaidRuns(
    { clock },
    { perPayerPerMinuteMax: perPayer, perDeploymentPerMinuteMax: perDeployment },
  )
  /** @returns seconds to wait, or undefined where there is room */
  const waitOf = (run: ReturnType<typeof runOf>): number | undefined => {
    try {
      runs.assertRoom(run)
      return undefined
    } catch (error) {
      if (!isProtocolError(error) || error.code !== 'unpaid_runs_reached') throw error
      return error.details['retryAfterSeconds'] as number
    }
  }
  const fail = (run: ReturnType<typeof runOf>, times = 1) => {
    for (let i = 0; i < times; i += 1) runs.addUnpaid(run)
  }
  return { clock, runs, waitOf, fail }
}

test('a payer whose calls fail is bounded over all deployments, and told how long to wait', async () => {
  const { clock, waitOf, fail } = setup()
  fail(runOf(1, 1), 2)
  expect(waitOf(runOf(1, 2))).toBeUndefined()
  fail(runOf(1, 2))
  expect(waitOf(runOf(1, 3))).toBe(20)
  expect(waitOf(runOf(2, 1))).toBeUndefined()
  await clock.advance(19_999)
  expect(waitOf(runOf(1, 3))).toBe(1)
  await clock.advance(1)
  expect(waitOf(runOf(1, 3))).toBeUndefined()
})

test('a thousand that were in flight when the bound was reached are waited for to the last one', async () => {
  const { clock, waitOf, fail } = setup({ perPayer: 60, perDeployment: 5_000 })
  fail(runOf(1), 1_000)
  expect(waitOf(runOf(1))).toBe(941)
  await clock.advance(941_000)
  expect(waitOf(runOf(1))).toBeUndefined()
})

test('a deployment that fails for many is bounded; who has paid and has not failed goes on', () => {
  const { runs, waitOf, fail } = setup()
  runs.addPaid(runOf(100))
  runs.addPaid(runOf(101))
  for (let payer = 0; payer < 10; payer += 1) fail(runOf(payer))
  expect(waitOf(runOf(50))).toBe(6)
  expect(waitOf(runOf(50, 2))).toBeUndefined()
  expect(waitOf(runOf(100))).toBeUndefined()
  fail(runOf(100))
  expect(waitOf(runOf(100))).toBe(12)
  expect(waitOf(runOf(101))).toBeUndefined()
})

test('over any time, whatever is sent when, a payer has no more unpaid runs than its rate and one burst', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 100 }), async (pausesMs) => {
      const { clock, waitOf, fail } = setup({ perPayer: 5, perDeployment: 1_000 })
      let runs = 0
      let elapsedMs = 0
      for (const pauseMs of pausesMs) {
        await clock.advance(pauseMs)
        elapsedMs += pauseMs
        if (waitOf(runOf(1)) !== undefined) continue
        fail(runOf(1))
        runs += 1
        expect(runs).toBeLessThanOrEqual(5 + (elapsedMs / 60_000) * 5 + 1)
      }
    }),
    { numRuns: 50 },
  )
})
