import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { countDeath, type Deaths, type ProcessEnd, restEndMs } from './decide-rest.ts'

/** Whether programs that died may be started again: to start one costs its neighbours more than to let it run. */
export interface Restarts {
  /**
   * A process ended by its own fault.
   *
   * @param why - For callers: nothing of what the program said.
   * @returns how long it rests now; undefined where that has nothing to do with this one
   */
  died(key: string, end: Omit<ProcessEnd, 'endedMs'>, why: string): number | undefined
  /** @throws ProtocolError `program_resting` */
  assertRested(key: string): void
  /** How many rest now. */
  readonly resting: number
  /** Rests since the start. */
  readonly rests: number
}

/** @param options.restMsMax - Asked at each death. */
export function createRestarts(
  { clock }: { clock: Clock },
  { restMsMax }: { restMsMax: () => number },
): Restarts {
  const known = createRecent<string, { readonly deaths: Deaths; readonly why: string }>(
    limits.programDeathsKeptMax,
  )
  let rests = 0
  return {
    died(key, end, why) {
      const before = known.get(key)?.deaths
      const deaths = countDeath(before, { ...end, endedMs: clock.monotonicMs() }, restMsMax())
      if (deaths === before) return undefined
      known.set(key, { deaths, why })
      if (deaths.restMs > 0) rests += 1
      return deaths.restMs
    },
    assertRested(key) {
      const found = known.get(key)
      if (!found) return
      const leftMs = restEndMs(found.deaths) - clock.monotonicMs()
      if (leftMs > 0) throw resting(found.deaths, found.why, leftMs)
    },
    get resting() {
      const nowMs = clock.monotonicMs()
      let count = 0
      for (const { deaths } of known.values()) if (restEndMs(deaths) > nowMs) count += 1
      return count
    },
    get rests() {
      return rests
    },
  }
}

function resting({ count }: Deaths, why: string, leftMs: number): ProtocolError {
  const retryAfterSeconds = Math.ceil(leftMs / 1000)
  return new ProtocolError(
    'program_resting',
    `The program died ${count} times in a row and rests before it is started again. The last time: ${why}.`,
    {
      hint: `Send it again in ${retryAfterSeconds} s, or to another provider; its owner finds what it died of in "khachapuri logs".`,
      details: { retryAfterSeconds },
    },
  )
}
