import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'

/**
 * What fills by one and empties by a minute's worth in a minute, for each of many keys. It may stand above its bound: what is
 * under way when the bound is reached is counted all the same, and waited for all the longer. The bound comes with each
 * question, because it may change.
 */
export interface Meters {
  level(key: string, perMinuteMax: number): number
  isFull(key: string, perMinuteMax: number): boolean
  secondsToRoom(key: string, perMinuteMax: number): number
  add(key: string, perMinuteMax: number): void
  /** Empties it by one. */
  takeBack(key: string): void
}

interface Meter {
  level: number
  atMs: number
}

export function createMeters({ clock }: { clock: Clock }): Meters {
  const meters = createRecent<string, Meter>(limits.payersWatchedMax)
  const level = (key: string, perMinuteMax: number) => {
    const meter = meters.get(key)
    if (!meter) return 0
    return Math.max(0, meter.level - ((clock.monotonicMs() - meter.atMs) / 60_000) * perMinuteMax)
  }
  /** Above the bound, if one more were added. */
  const excess = (key: string, perMinuteMax: number) => level(key, perMinuteMax) + 1 - perMinuteMax
  return {
    level,
    isFull: (key, perMinuteMax) => excess(key, perMinuteMax) > roundingError,
    add: (key, perMinuteMax) =>
      meters.set(key, { level: level(key, perMinuteMax) + 1, atMs: clock.monotonicMs() }),
    takeBack(key) {
      const meter = meters.get(key)
      if (meter) meter.level = Math.max(0, meter.level - 1)
    },
    secondsToRoom: (key, perMinuteMax) =>
      Math.ceil(((excess(key, perMinuteMax) - roundingError) / perMinuteMax) * 60),
  }
}

/** Of sums of parts of a minute. */
const roundingError = 1e-6
