import { limits } from '../../protocol/limits.ts'

/** How often a program has died lately, and how long it rests after the last time. */
export interface Deaths {
  readonly count: number
  /** By a monotonic clock, as all times here. */
  readonly lastMs: number
  /** From the last one on; 0 where it may be started again at once. */
  readonly restMs: number
}

/** A process of a program that ended by its own fault. */
export interface ProcessEnd {
  readonly startedMs: number
  readonly endedMs: number
  /** What it had answered, since the death before it. */
  readonly callsAnswered: number
}

/**
 * Decides how long a program rests that died: not at all for the first deaths, as anything may fail once, and then twice as long
 * for each that follows soon.
 *
 * Who answered well in between begins anew: a program that many call is not shut by the one among them who makes it fail.
 *
 * @param restMsMax - 0 for never
 */
export function countDeath(
  before: Deaths | undefined,
  { startedMs, endedMs, callsAnswered }: ProcessEnd,
  restMsMax: number,
): Deaths {
  // Of processes that ran together, the first says what there is to say: none of them is a new try.
  if (before && startedMs < before.lastMs) return before
  const isLate = before && endedMs - restEndMs(before) > quietMs(before)
  const isWell = callsAnswered >= limits.programCallsWellMin
  const count = (isLate || isWell ? 0 : (before?.count ?? 0)) + 1
  const doublings = Math.min(count - limits.programDeathsFreeMax - 1, 30)
  const restMs = doublings < 0 ? 0 : Math.min(restMsMax, limits.programRestMsMin * 2 ** doublings)
  return { count, lastMs: endedMs, restMs }
}

export const restEndMs = ({ lastMs, restMs }: Deaths): number => lastMs + restMs

/** After its rest a program that lives for as long is forgiven: longer where it rested long, or each rest would be the last. */
const quietMs = ({ restMs }: Deaths): number => Math.max(limits.programQuietMsMin, 2 * restMs)
