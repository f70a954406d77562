import { once } from 'node:events'
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { MiB } from './bytes.ts'
import { createYoungCollector } from './collect-young.ts'

test('of what passes, what nobody holds is looked for every few mebibytes', async () => {
  const seen = new EventTarget()
  let minor = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as unknown as { detail: { kind: number } }).detail
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) minor++
    }
    if (minor >= 10) seen.dispatchEvent(new Event('ten'))
  })
  observer.observe({ entryTypes: ['gc'] })
  const ten = once(seen, 'ten')
  const note = createYoungCollector()
  for (let pieces = 0; pieces < 10 * 128; pieces++) note(MiB / 16)
  await ten
  expect(minor).toBeGreaterThanOrEqual(10)
  observer.disconnect()
})
