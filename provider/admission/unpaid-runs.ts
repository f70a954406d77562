import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'

/** Who has a program run, and which. */
export interface Run {
  readonly payer: Address
  /** SHA-256 of what the deployment's owner signed: anybody can put the same under any number of CIDs. */
  readonly spec: Hex
}

/**
 * Counts the runs that nobody pays for, because the program failed and its caller owes nothing for that. Without a bound,
 * a program that always fails would be work for nothing, as much as a caller likes.
 *
 * A payer is bounded by itself. A deployment is bounded over all its payers; but one payer's failures must not shut out the
 * others, so there a payer goes on that has paid for a call and has no failure of late.
 */
export interface UnpaidRuns {
  /** @throws ProtocolError `unpaid_runs_reached` with `retryAfterSeconds` */
  assertRoom(run: Run): void
  /** The program ran for nothing. */
  addUnpaid(run: Run): void
  /** The run was paid for. */
  addPaid(run: Run): void
}

export interface UnpaidRunsOptions {
  readonly perPayerPerMinuteMax: number
  readonly perDeploymentPerMinuteMax: number
}

export function createUnpaidRuns(
  { clock }: { clock: Clock },
  {
    perPayerPerMinuteMax = limits.unpaidRunsPerPayerPerMinuteMax,
    perDeploymentPerMinuteMax = limits.unpaidRunsPerDeploymentPerMinuteMax,
  }: Partial<UnpaidRunsOptions> = {},
): UnpaidRuns {
  const payers = createMeters(clock, perPayerPerMinuteMax)
  const deployments = createMeters(clock, perDeploymentPerMinuteMax)
  const proven = createRecent<Address, true>(limits.provenPayersMax)
  const isInGoodStanding = (payer: Address) => proven.has(payer) && payers.level(payer) < 1

  return {
    assertRoom({ payer, spec }) {
      if (payers.isFull(payer))
        throw reached('of this payer', perPayerPerMinuteMax, payers.secondsToRoom(payer))
      if (deployments.isFull(spec) && !isInGoodStanding(payer))
        throw reached('of this deployment', perDeploymentPerMinuteMax, deployments.secondsToRoom(spec))
    },
    addUnpaid({ payer, spec }) {
      payers.add(payer)
      deployments.add(spec)
    },
    addPaid({ payer }) {
      proven.set(payer, true)
    },
  }
}

interface Meter {
  level: number
  atMs: number
}

/**
 * What fills by one and empties by a minute's worth in a minute. It may stand above its bound: calls that are in flight when
 * the bound is reached are counted all the same, and waited for all the longer.
 */
function createMeters(clock: Clock, perMinuteMax: number) {
  const meters = createRecent<string, Meter>(limits.payersWatchedMax)
  const level = (key: string) => {
    const meter = meters.get(key)
    if (!meter) return 0
    return Math.max(0, meter.level - ((clock.monotonicMs() - meter.atMs) / 60_000) * perMinuteMax)
  }
  /** Above the bound, if one more were added. */
  const excess = (key: string) => level(key) + 1 - perMinuteMax
  return {
    level,
    isFull: (key: string) => excess(key) > roundingError,
    add: (key: string) => meters.set(key, { level: level(key) + 1, atMs: clock.monotonicMs() }),
    secondsToRoom: (key: string) => Math.ceil(((excess(key) - roundingError) / perMinuteMax) * 60),
  }
}

/** Of sums of parts of a minute. */
const roundingError = 1e-6

function reached(whose: string, perMinuteMax: number, retryAfterSeconds: number): ProtocolError {
  return new ProtocolError(
    'unpaid_runs_reached',
    `More than ${perMinuteMax} calls ${whose} failed lately, and nobody paid for them.`,
    {
      hint: `Send it again in ${retryAfterSeconds} s, and tell the program's developer that it fails.`,
      details: { retryAfterSeconds },
    },
  )
}
