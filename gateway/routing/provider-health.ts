import { limits } from '../../protocol/limits.ts'
import type { Usdc } from '../../protocol/usdc.ts'

/** What this gateway has seen of one provider. It is the gateway's own view, told to nobody and kept in memory. */
export interface ProviderHealth {
  /** Calls that this gateway chose it for, and that have not ended. */
  readonly callsInFlight: number
  /** Weighted mean of the time until its answers begin; undefined before the first. */
  readonly latencyMs: number | undefined
  /** When that was last measured, in monotonic milliseconds. */
  readonly latencyAtMs: number
  readonly failuresInRow: number
  /** Until when no call goes there, in monotonic milliseconds; 0 while it is in order. */
  readonly brokenUntilMs: number
  /** How often in a row it broke again as soon as it was tried. */
  readonly breaks: number
  /** Whether one call or question is finding out if it is in order again. */
  readonly isTried: boolean
  /** When it was found in order again; undefined if it never broke, or has long been back. */
  readonly recoveredAtMs: number | undefined
  /** Its price of a call, by its own word; undefined before it was asked. */
  readonly priceUsdc: Usdc | undefined
  /** Until when it asked to be spared, because it is full or stops. */
  readonly busyUntilMs: number
}

export const unknownHealth: ProviderHealth = {
  callsInFlight: 0,
  latencyMs: undefined,
  latencyAtMs: 0,
  failuresInRow: 0,
  brokenUntilMs: 0,
  breaks: 0,
  isTried: false,
  recoveredAtMs: undefined,
  priceUsdc: undefined,
  busyUntilMs: 0,
}

/** `closed`: in order; `open`: no call goes there; `half_open`: one may, to see. */
export type Circuit = 'closed' | 'open' | 'half_open'

export function circuitOf({ brokenUntilMs }: ProviderHealth, nowMs: number): Circuit {
  if (brokenUntilMs === 0) return 'closed'
  return nowMs < brokenUntilMs ? 'open' : 'half_open'
}

/** The share of its usual calls that a provider gets, from a tenth just after it recovered to all of them. */
export function shareOf({ recoveredAtMs }: ProviderHealth, nowMs: number): number {
  if (recoveredAtMs === undefined) return 1
  const share = (nowMs - recoveredAtMs) / limits.routeSlowStartMs
  return Math.min(1, Math.max(0.1, share))
}

/** A call or a question to it begins. */
export function noteStart(health: ProviderHealth, nowMs: number): ProviderHealth {
  return {
    ...health,
    callsInFlight: health.callsInFlight + 1,
    isTried: health.isTried || circuitOf(health, nowMs) === 'half_open',
  }
}

/** It ended, however that was. */
export function noteEnd(health: ProviderHealth): ProviderHealth {
  return { ...health, callsInFlight: Math.max(0, health.callsInFlight - 1), isTried: false }
}

/** An answer began: whatever its status, the provider is there. */
export function noteAnswer(
  health: ProviderHealth,
  { latencyMs, nowMs }: { latencyMs: number; nowMs: number },
): ProviderHealth {
  const wasBroken = health.brokenUntilMs !== 0
  return {
    ...health,
    latencyMs: health.latencyMs === undefined ? latencyMs : health.latencyMs * 0.8 + latencyMs * 0.2,
    latencyAtMs: nowMs,
    failuresInRow: 0,
    brokenUntilMs: 0,
    breaks: 0,
    isTried: false,
    recoveredAtMs: wasBroken ? nowMs : recentRecovery(health, nowMs),
  }
}

/** Nothing came of it that could be called an answer. */
export function noteFailure(
  health: ProviderHealth,
  { nowMs, random }: { nowMs: number; random: () => number },
): ProviderHealth {
  const failuresInRow = health.failuresInRow + 1
  const wasBroken = health.brokenUntilMs !== 0
  if (!wasBroken && failuresInRow < limits.routeFailuresToBreak) return { ...health, failuresInRow }
  // What was under way when it broke says nothing new.
  if (circuitOf(health, nowMs) === 'open') return { ...health, failuresInRow }
  const breaks = health.breaks + 1
  const delayMs = Math.min(limits.routeBreakMsMax, limits.routeBreakMsMin * 2 ** Math.min(breaks - 1, 20))
  return {
    ...health,
    failuresInRow,
    breaks,
    isTried: false,
    recoveredAtMs: undefined,
    brokenUntilMs: nowMs + delayMs * (0.5 + random() / 2),
  }
}

/** It said itself that it takes no calls for a while. */
export function noteBusy(
  health: ProviderHealth,
  { nowMs, retryAfterMs }: { nowMs: number; retryAfterMs: number },
): ProviderHealth {
  return { ...health, busyUntilMs: nowMs + Math.min(retryAfterMs, limits.routeBreakMsMax) }
}

function recentRecovery({ recoveredAtMs }: ProviderHealth, nowMs: number): number | undefined {
  if (recoveredAtMs === undefined || nowMs - recoveredAtMs >= limits.routeSlowStartMs) return undefined
  return recoveredAtMs
}
