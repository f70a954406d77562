import { limits } from '../../protocol/limits.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { ServiceRecord, Standing } from '../reputation/standing.ts'
import { circuitOf, type ProviderHealth, shareOf } from './provider-health.ts'

/** One of those who could serve a call. */
export interface Candidate {
  readonly health: ProviderHealth
  readonly standing: Standing
  /** Whether it was tried for this very call already. */
  readonly isTried: boolean
  /** Whether it refused this deployment lately, and would again. */
  readonly hasRefused: boolean
}

export interface ChoiceFacts {
  readonly nowMs: number
  /** What the caller pays at most for a call, where it says so. */
  readonly priceUsdcMax: Usdc | undefined
  /** Uniform in [0, 1). */
  readonly random: () => number
}

export type Choice =
  | { readonly kind: 'chosen'; readonly index: number; readonly reason: ChoiceReason }
  /** Nobody is left to try. */
  | { readonly kind: 'none' }
  /** All that are left are above the price. */
  | { readonly kind: 'too_dear' }
  /** All that are left are out of order; one of them may be tried again in so many milliseconds. */
  | { readonly kind: 'broken'; readonly retryAfterMs: number }

/** Why somebody was chosen. */
export interface ChoiceReason {
  /** There was nobody else; the lot fell on it; or it has much less to do than whom the lot fell on. */
  readonly why: 'only_one' | 'drawn' | 'less_to_do'
  /** How many were left to choose among: in order, within the price, willing, not tried before. */
  readonly among: number
  /** The part of the lots that it had among them, from 0 to 1. */
  readonly share: number
  readonly record: ServiceRecord
}

/** Below this, differences are noise; and what is taken for the latency of one that nobody knows yet, so that it is tried. */
const latencyMsMin = 10

/**
 * Who gets a call: the first of two that are drawn by lot, or the second where that has much less to do (latency times
 * calls in flight, more of both for one that has just recovered). Two, because always taking the best sends everybody to the same one; by lot, because then
 * no gateway needs to know of another. A good record and a low price are more lots; a newcomer has its share; who was
 * caught has none, and gets a call only where all others are out of order. Whoever was out of order gets a call only where nobody else is willing; those that
 * refused this deployment lately or asked to be spared come last.
 */
export function chooseProvider(candidates: readonly Candidate[], facts: ChoiceFacts): Choice {
  const { nowMs } = facts
  const all = candidates.map((candidate, index): Indexed => ({ index, ...candidate }))
  const untried = all.filter(({ isTried }) => !isTried)
  if (untried.length === 0) return { kind: 'none' }
  const affordable = untried.filter(({ health }) => isAffordable(health, facts))
  if (affordable.length === 0) return { kind: 'too_dear' }
  const working = affordable.filter(({ health }) => mayTake(health, nowMs))
  if (working.length === 0) {
    const untilMs = affordable.map(({ health }) => health.brokenUntilMs)
    return { kind: 'broken', retryAfterMs: Math.max(0, Math.min(...untilMs) - nowMs) }
  }
  const honest = working.filter(({ standing }) => standing.lots > 0)
  const trusted = honest.length > 0 ? honest : working
  const willing = trusted.filter((candidate) => isWilling(candidate, nowMs))
  const sound = willing.filter(({ health }) => circuitOf(health, nowMs) === 'closed')
  const best = [sound, willing, trusted].find(({ length }) => length > 0) ?? trusted
  return { kind: 'chosen', ...drawBest(best, facts) }
}

type Indexed = Candidate & { readonly index: number }

function isAffordable({ priceUsdc }: ProviderHealth, { priceUsdcMax }: ChoiceFacts): boolean {
  return priceUsdc === undefined || priceUsdcMax === undefined || priceUsdc <= priceUsdcMax
}

function mayTake(health: ProviderHealth, nowMs: number): boolean {
  const circuit = circuitOf(health, nowMs)
  return circuit === 'closed' || (circuit === 'half_open' && !health.isTried)
}

const isWilling = ({ health, hasRefused }: Candidate, nowMs: number): boolean =>
  !hasRefused && health.busyUntilMs <= nowMs

/**
 * What a call there costs in waiting: less is better. What was measured long ago counts for little, so that one that was
 * slow once is tried again.
 */
export function costOf(health: ProviderHealth, nowMs: number): number {
  const { latencyMs = latencyMsMin, latencyAtMs, callsInFlight } = health
  const remembered = latencyMs * 0.5 ** (Math.max(0, nowMs - latencyAtMs) / limits.routeLatencyHalfLifeMs)
  return (Math.max(remembered, latencyMsMin) * (callsInFlight + 1)) / shareOf(health, nowMs)
}

/** Costs within this factor are as good as equal: then the lot decides, and those who are alike share the calls. */
export const costsAlikeFactor = 2

function drawBest(
  among: readonly Indexed[],
  { nowMs, random }: ChoiceFacts,
): { readonly index: number; readonly reason: ChoiceReason } {
  const lots = lotsOf(among)
  const at = drawLot(lots, random())
  const others = lots.map((one, index) => (index === at ? 0 : one))
  // One of the others, so that the two are never the same.
  const first = among[at]!
  const second = among.length === 1 ? first : among[drawLot(others, random())]!
  const isFirstGood = costOf(first.health, nowMs) <= costsAlikeFactor * costOf(second.health, nowMs)
  const chosen = isFirstGood ? first : second
  const share = lots[among.indexOf(chosen)]! / lots.reduce((sum, one) => sum + one, 0)
  const why = among.length === 1 ? 'only_one' : isFirstGood ? 'drawn' : 'less_to_do'
  return {
    index: chosen.index,
    reason: { why, among: among.length, share, record: chosen.standing.record },
  }
}

/** However dear, within what the caller pays: price alone does not decide. */
const priceFactorMin = 0.25

/** The lots of each: by its record, and by its price beside the lowest; half for a price that nobody knows yet. */
export function lotsOf(among: readonly Pick<Candidate, 'standing' | 'health'>[]): number[] {
  const lowest = Math.min(
    ...among.flatMap(({ health }) => Number(health.priceUsdc ?? Number.POSITIVE_INFINITY)),
  )
  const areCaught = among.every(({ standing }) => standing.lots === 0)
  return among.map(({ standing, health: { priceUsdc } }) => {
    const beside = priceUsdc === undefined ? 0.5 : (lowest + 1) / (Number(priceUsdc) + 1)
    return (areCaught ? 1 : standing.lots) * Math.max(priceFactorMin, beside)
  })
}

/** @param draw - Uniform in [0, 1). */
function drawLot(lots: readonly number[], draw: number): number {
  let left = draw * lots.reduce((sum, one) => sum + one, 0)
  for (const [index, one] of lots.entries()) {
    if (left < one) return index
    left -= one
  }
  // Where rounding ate the last part of a lot.
  return lots.findLastIndex((one) => one > 0)
}
