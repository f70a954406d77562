import fc from 'fast-check'
import { AggregatorRegistry, Histogram, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { registerDurations } from './durations.ts'

const bucketsMs = [1, 2.5, 1_000]
const described = { name: 'call_seconds', help: 'Of calls.' }

/** As a gateway of several processes does. */
async function addUp(...registries: Registry[]): Promise<string> {
  const counted = await Promise.all(registries.map((registry) => registry.getMetricsAsJSON()))
  return AggregatorRegistry.aggregate(counted).metrics()
}

test('what is shown is what a histogram of prom-client shows of the same durations', async () => {
  // Eighths of a second add up exactly, whatever they are divided by.
  const duration = fc.oneof(
    fc.constantFrom(...bucketsMs.filter((boundMs) => boundMs >= 125), 0),
    fc.integer({ min: 0, max: 80 }).map((count) => count * 125),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(duration), async (durationsMs) => {
      const own = new Registry()
      const observe = registerDurations(own, { ...described, bucketsMs })
      const theirs = new Registry()
      const buckets = bucketsMs.map((boundMs) => boundMs / 1000)
      const histogram = new Histogram({ ...described, buckets, registers: [theirs] })
      for (const durationMs of durationsMs) {
        observe(durationMs)
        histogram.observe(durationMs / 1000)
      }
      expect(await own.metrics()).toBe(await theirs.metrics())
      expect(await addUp(own, own)).toBe(await addUp(theirs, theirs))
    }),
  )
})

test('a duration that is as long as a bound is below it', async () => {
  const registry = new Registry()
  const observe = registerDurations(registry, { ...described, bucketsMs })
  for (const durationMs of [1, 2.5, 2.6]) observe(durationMs)
  const text = await registry.metrics()
  expect(text).toContain('call_seconds_bucket{le="0.001"} 1\ncall_seconds_bucket{le="0.0025"} 2\n')
  expect(text).toContain('call_seconds_bucket{le="+Inf"} 3\n')
})
