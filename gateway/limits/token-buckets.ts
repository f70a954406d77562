import type { Clock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import type { Quota } from './quota.ts'

/** A bucket of tokens for each key. */
export interface TokenBuckets {
  readonly quota: Quota
  /** Takes one token where there is one. */
  take(key: string): Taken
  /** The same without taking. */
  look(key: string): Taken
  /** Takes what was let through elsewhere. It cannot be refused any more, so the bucket may owe tokens afterwards. */
  charge(key: string, tokens: number): void
  /** How many keys are remembered. */
  readonly size: number
}

export interface Taken {
  readonly isTaken: boolean
  /** Tokens that are left. */
  readonly remaining: number
  /** Until all of them are back. */
  readonly resetMs: number
  /** Until there is one; 0 where there is. */
  readonly retryMs: number
}

/** Keys that came when there was no place for them share this many buckets, so that nobody is let through uncounted. */
const sharedBuckets = 1024

/**
 * Token buckets as one number for each key: when its bucket will be full again (GCRA). A bucket that nobody touched for
 * the length of a window is full, so keys are kept in two generations of that length, and nothing is ever swept. Those
 * that owe tokens go on into the next generation until they do no more.
 *
 * @param keysMax - Of one generation.
 */
export function createTokenBuckets(
  { clock }: { readonly clock: Clock },
  quota: Quota,
  keysMax: number,
): TokenBuckets {
  const windowMs = quota.windowSeconds * 1000
  const tokenMs = windowMs / quota.requests
  let current = new Map<string, number>()
  let previous = new Map<string, number>()
  let turnedMs = clock.monotonicMs()
  /** Whose buckets were emptier than empty when they were last touched. */
  const debtors = new Set<string>()

  function turn(nowMs: number): void {
    const ageMs = nowMs - turnedMs
    if (ageMs < windowMs) return
    const owed = [...debtors].map((place) => [place, fullAt(place, nowMs)] as const)
    previous = ageMs < 2 * windowMs ? current : new Map()
    current = new Map()
    turnedMs = nowMs
    for (const [place, fullAtMs] of owed) {
      if (fullAtMs > nowMs) current.set(place, fullAtMs)
      if (fullAtMs <= nowMs + windowMs) debtors.delete(place)
    }
  }

  /** Where the key's bucket is: its own, or one that it shares while there are too many keys. */
  function placeOf(key: string): string {
    if (current.has(key) || previous.has(key) || current.size < keysMax) return key
    return `shared ${hashOf(key) % sharedBuckets}`
  }

  function decide(fullAtMs: number, nowMs: number): Taken {
    const lateMs = fullAtMs + tokenMs - nowMs
    const isTaken = lateMs <= windowMs + epsilonMs
    const usedMs = isTaken ? lateMs : fullAtMs - nowMs
    return {
      isTaken,
      remaining: Math.max(0, Math.floor((windowMs - usedMs) / tokenMs + epsilonMs)),
      resetMs: usedMs,
      retryMs: isTaken ? 0 : lateMs - windowMs,
    }
  }

  const fullAt = (place: string, nowMs: number) =>
    Math.max(nowMs, current.get(place) ?? previous.get(place) ?? 0)

  return {
    quota,
    take(key) {
      const nowMs = clock.monotonicMs()
      turn(nowMs)
      const place = placeOf(key)
      const fullAtMs = fullAt(place, nowMs)
      const taken = decide(fullAtMs, nowMs)
      if (taken.isTaken) current.set(place, fullAtMs + tokenMs)
      return taken
    },
    look(key) {
      const nowMs = clock.monotonicMs()
      turn(nowMs)
      return decide(fullAt(placeOf(key), nowMs), nowMs)
    },
    charge(key, tokens) {
      const nowMs = clock.monotonicMs()
      turn(nowMs)
      const place = placeOf(key)
      const fullAtMsMax = nowMs + windowMs * (1 + limits.quotaDebtWindowsMax)
      const fullAtMs = Math.min(fullAt(place, nowMs) + tokens * tokenMs, fullAtMsMax)
      current.set(place, fullAtMs)
      if (fullAtMs > nowMs + windowMs) debtors.add(place)
    },
    get size() {
      return current.size + previous.size
    },
  }
}

/** Tokens are fractions of milliseconds, which do not add up exactly. */
const epsilonMs = 1e-6

/** FNV-1a: spreads keys; who finds two that meet has found somebody to share with. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return hash >>> 0
}
