import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createWatchdog } from './watchdog.ts'

test('everything awake is looked at in every tick, by one sleeper', async () => {
  const clock = createTestClock()
  using watchdog = createWatchdog({ clock }, { intervalMs: 50 })
  const looks = [0, 0]
  for (const i of [0, 1]) {
    watchdog
      .watch(() => {
        looks[i]!++
        return true
      })
      .wake()
  }
  expect(clock.sleepers).toBe(1)
  await clock.advance(200)
  expect(looks).toEqual([4, 4])
})

test('nothing to watch leaves no timer, and waking begins again', async () => {
  const clock = createTestClock()
  using watchdog = createWatchdog({ clock }, { intervalMs: 50 })
  let leftLooks = 2
  const watch = watchdog.watch(() => --leftLooks > 0)
  watch.wake()
  await clock.advance(500)
  expect(leftLooks).toBe(0)
  expect(clock.sleepers).toBe(0)
  watch.wake()
  expect(clock.sleepers).toBe(1)
})

test('what is awake knows whether anything else is', async () => {
  const clock = createTestClock()
  using watchdog = createWatchdog({ clock }, { intervalMs: 50 })
  let isBusy = true
  const [a, b] = [watchdog.watch(() => true), watchdog.watch(() => isBusy)]
  expect([a.isAlone, b.isAlone]).toEqual([true, true])
  a.wake()
  expect([a.isAlone, b.isAlone]).toEqual([true, false])
  b.wake()
  expect([a.isAlone, b.isAlone]).toEqual([false, false])
  isBusy = false
  await clock.advance(50)
  expect([a.isAlone, b.isAlone]).toEqual([true, false])
})

test('a disposed watchdog looks no more', async () => {
  const clock = createTestClock()
  const watchdog = createWatchdog({ clock }, { intervalMs: 50 })
  watchdog.watch(() => expect.unreachable('looked after the end')).wake()
  watchdog[Symbol.dispose]()
  await clock.advance(200)
  expect(clock.sleepers).toBe(0)
})
