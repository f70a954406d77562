import { setImmediate } from 'node:timers/promises'
import { type Clock, systemClock, type TestClock } from '../../protocol/base/clock.ts'

/** Moves the clock until `promise` is settled; what it waits for besides is real sockets. */
export async function advanceUntil<T>(clock: TestClock, promise: Promise<T>): Promise<T> {
  let isDone = false
  const settled = promise.finally(() => {
    isDone = true
  })
  // Whoever called hears of it at the end, and not before.
  settled.catch(() => undefined)
  while (!isDone) {
    await setImmediate()
    if (clock.sleepers > 0) await clock.advance(1_000)
  }
  return settled
}

/** The machine's clock, which a test can put forward: what should be late is late when the test wants, on the slowest machine, too. */
export interface JumpingClock extends Clock {
  jump(durationMs: number): void
}

export function createJumpingClock(): JumpingClock {
  let jumpedMs = 0
  return {
    ...systemClock,
    monotonicMs: () => systemClock.monotonicMs() + jumpedMs,
    jump(durationMs) {
      jumpedMs += durationMs
    },
  }
}
