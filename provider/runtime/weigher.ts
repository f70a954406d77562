import { limits } from '../../protocol/limits.ts'

/** Decides how much of a busy processor a program gets, by how much of its provider it keeps busy. */
export interface Weigher {
  /** So much has come from it. */
  take(bytes: number): void
  /** @returns per cent of what others get; asked at every tick of the watchdog */
  look(nowMs: number): number
}

/**
 * All calls of a provider go through one thread. A program that answers faster than anybody reads over a network keeps
 * that thread and one processor busy, and what other programs answer waits for both. It weighs less from then on: where
 * nobody else wants the processor it notices nothing, and where it sends less than the bound it weighs as before.
 */
export function createWeigher(startMs: number): Weigher {
  let bytes = 0
  let lookedMs = startMs
  let pouredMs = Number.NEGATIVE_INFINITY
  return {
    take(more) {
      bytes += more
    },
    look(nowMs) {
      const isPouring = bytes * 1_000 > limits.programBytesPerSecondFull * (nowMs - lookedMs)
      if (isPouring && bytes > limits.programBytesPerTurnMax) pouredMs = nowMs
      bytes = 0
      lookedMs = nowMs
      return nowMs - pouredMs < limits.programWeightMsMin ? limits.programPouringWeightPercent : 100
    },
  }
}
