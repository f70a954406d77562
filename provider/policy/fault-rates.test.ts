import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createFaultRates } from './fault-rates.ts'

const windowMs = 10_000
const sliceMs = windowMs / 10

test('a rate counts what came within the window, give or take its last slice, and nothing of other deployments', async () => {
  const steps = fc.array(
    fc.record({
      waitMs: fc.nat(4_000),
      isFault: fc.boolean(),
      spec: fc.constantFrom('0xaa' as const, '0xbb' as const),
    }),
    { maxLength: 60 },
  )
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const clock = createTestClock()
      const rates = createFaultRates({ clock })
      const seen: { atMs: number; isFault: boolean; spec: string }[] = []
      for (const { waitMs, isFault, spec } of list) {
        await clock.advance(waitMs)
        const nowMs = clock.monotonicMs()
        seen.push({ atMs: nowMs, isFault, spec })
        const { calls, faults } = rates.add(spec, { isFault, windowMs })
        const within = (ageMs: number) => seen.filter((one) => one.spec === spec && nowMs - one.atMs <= ageMs)
        expect(calls).toBeLessThanOrEqual(within(windowMs).length)
        expect(calls).toBeGreaterThanOrEqual(within(windowMs - sliceMs - 1).length)
        expect(faults).toBeLessThanOrEqual(within(windowMs).filter((one) => one.isFault).length)
        expect(faults).toBeGreaterThanOrEqual(
          within(windowMs - sliceMs - 1).filter((one) => one.isFault).length,
        )
      }
    }),
  )
})
