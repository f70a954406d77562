import { systemClock } from '../protocol/base/clock.ts'
import type { Load, Sample, Target } from './load.ts'
import { median } from './median.ts'

/** What came out for one target, beside the others of the same rounds. */
export interface Standing {
  readonly target: string
  readonly requestsPerSecond: number
  /** Calls that failed, in all rounds. */
  readonly failures: number
  readonly p50Us: number
  readonly p99Us: number
  readonly cpuUs: Readonly<Record<string, number>>
  readonly rounds: readonly Sample[]
}

export interface RoundsOptions {
  readonly connections: number
  readonly rounds: number
  readonly seconds: number
}

/**
 * Runs all targets in turn, round by round (A B C, then C B A), so that whatever drifts on the machine meets all of them.
 * They are warm, see `warmUp`.
 *
 * @returns medians over the rounds
 */
export async function runRounds(
  load: Load,
  targets: readonly Target[],
  { connections, rounds, seconds }: RoundsOptions,
  signal: AbortSignal,
): Promise<readonly Standing[]> {
  const samples = new Map(targets.map((target) => [target, [] as Sample[]]))
  for (let round = 0; round < rounds; round += 1) {
    for (const target of round % 2 === 0 ? targets : targets.toReversed()) {
      signal.throwIfAborted()
      samples.get(target)?.push(await load.run(target, { connections, seconds }))
    }
  }
  return targets.map((target) => summarise(target.name, samples.get(target) ?? []))
}

/** Calls every target until its code is compiled: tens of thousands of times, in turns. */
export async function warmUp(
  load: Load,
  targets: readonly Target[],
  { seconds }: { readonly seconds: number },
  signal: AbortSignal,
): Promise<void> {
  for (const target of targets) await waitForAnswer(load, target, signal)
  for (const target of [...targets, ...targets]) {
    signal.throwIfAborted()
    await load.run(target, { connections: 50, seconds })
  }
}

/**
 * A provider whose books are new takes no calls of those whose calls it has collected for before, as in an earlier
 * measurement, until it has found its settlement on the chain.
 */
async function waitForAnswer(load: Load, target: Target, signal: AbortSignal): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      return void (await load.callOnce(target))
    } catch (error) {
      if (tries === triesMax) throw error
      await systemClock.sleep(pauseMs, signal)
    }
  }
}

const pauseMs = 100
const triesMax = 300

function summarise(target: string, rounds: readonly Sample[]): Standing {
  const roles = Object.keys(rounds[0]?.cpuUs ?? {})
  return {
    target,
    failures: rounds.reduce((sum, { failures }) => sum + failures, 0),
    requestsPerSecond: median(rounds.map((sample) => sample.requestsPerSecond)),
    p50Us: median(rounds.map((sample) => sample.p50Us)),
    p99Us: median(rounds.map((sample) => sample.p99Us)),
    cpuUs: Object.fromEntries(
      roles.map((role) => [role, median(rounds.map((sample) => sample.cpuUs[role] ?? 0))]),
    ),
    rounds,
  }
}

/** How many times the throughput of `peer`: the median of the ratios of each round. */
export function ratioOf(standing: Standing, peer: Standing): number {
  return median(
    standing.rounds.map(
      (sample, round) => sample.requestsPerSecond / (peer.rounds[round]?.requestsPerSecond ?? Number.NaN),
    ),
  )
}

/** What is added to the median time of `peer`: the median of the differences of each round. */
export function addedP50Us(standing: Standing, peer: Standing): number {
  return median(
    standing.rounds.map((sample, round) => sample.p50Us - (peer.rounds[round]?.p50Us ?? Number.NaN)),
  )
}
