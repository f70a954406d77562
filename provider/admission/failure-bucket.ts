import type { Clock } from '../../protocol/base/clock.ts'

/** A bucket that failures fill and time empties: who sends too many that cost us work has to wait. */
export interface FailureBucket {
  isFull(): boolean
  add(): void
}

export function createFailureBucket(clock: Clock, failuresPerSecondMax: number): FailureBucket {
  let level = 0
  let levelAtMs = clock.monotonicMs()
  const drain = () => {
    const nowMs = clock.monotonicMs()
    level = Math.max(0, level - ((nowMs - levelAtMs) / 1000) * failuresPerSecondMax)
    levelAtMs = nowMs
  }
  return {
    isFull(): boolean {
      drain()
      return level >= failuresPerSecondMax
    },
    add(): void {
      drain()
      level += 1
    },
  }
}
