import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createEgressBudget } from './budget.ts'

const perCall = { requests: 2, sentBytes: 100, receivedBytes: 1_000 }

test('a call has its allowance, and the next one has it anew', () => {
  const budget = createEgressBudget(perCall)
  expect(budget.takeRequest()).toBe('requests')
  for (let i = 0; i < 3; i++) {
    budget.callBegan()
    expect(budget.take('receivedBytes', 600)).toBe(true)
    expect(budget.take('receivedBytes', 400)).toBe(true)
    expect(budget.take('receivedBytes', 1)).toBe(false)
    expect(budget.lastBreach).toBe('receivedBytes')
    expect(budget.takeRequest()).toBe('receivedBytes')
    budget.callEnded()
  }
  expect(budget.used).toEqual({ requests: 0, sentBytes: 0, receivedBytes: 3_000 })
  expect(budget.breaches).toBe(7)
})

test('calls that run together use what they have together, and nothing is saved up', () => {
  const budget = createEgressBudget(perCall)
  budget.callBegan()
  budget.callBegan()
  expect(budget.take('sentBytes', 150)).toBe(true)
  budget.callEnded()
  expect(budget.take('sentBytes', 51)).toBe(false)
  budget.callEnded()
  for (let i = 0; i < 10; i++) {
    budget.callBegan()
    budget.callEnded()
  }
  budget.callBegan()
  expect(budget.take('sentBytes', 100)).toBe(true)
  expect(budget.take('sentBytes', 1)).toBe(false)
})

test('who has asked for too much gets nothing more, not even what was left', () => {
  const budget = createEgressBudget(perCall)
  budget.callBegan()
  expect(budget.take('sentBytes', 101)).toBe(false)
  expect(budget.take('sentBytes', 1)).toBe(false)
  expect(budget.take('receivedBytes', 1_000)).toBe(true)
  budget.callEnded()
  budget.callBegan()
  expect(budget.take('sentBytes', 100)).toBe(true)
})

test('whatever happens, n calls take no more than n allowances, and a call alone can take a whole one', () => {
  const step = fc.oneof(fc.constantFrom('begin' as const, 'end' as const), fc.integer({ min: 1, max: 150 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const budget = createEgressBudget(perCall)
      let [running, began, taken, refused] = [0, 0, 0, 0]
      for (const next of steps) {
        if (next === 'begin') {
          budget.callBegan()
          running++
          began++
        } else if (next === 'end') {
          if (running === 0) continue
          budget.callEnded()
          running--
        } else if (budget.take('sentBytes', next)) {
          taken += next
        } else {
          refused++
        }
      }
      expect(taken).toBeLessThanOrEqual(began * perCall.sentBytes)
      expect(budget.used.sentBytes).toBe(taken)
      expect(budget.breaches).toBe(refused)
      for (; running > 0; running--) budget.callEnded()
      budget.callBegan()
      expect(budget.take('sentBytes', perCall.sentBytes)).toBe(true)
      expect(budget.take('sentBytes', 1)).toBe(false)
    }),
  )
})
