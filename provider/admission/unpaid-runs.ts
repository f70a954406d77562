import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { createMeters } from './meters.ts'

/** Who has a program run, and which. */
export interface Run {
  /** The account, or the place on the network of a caller for whom the owner pays. */
  readonly payer: string
  /** SHA-256 of what the deployment's owner signed: anybody can put the same under any number of CIDs. Undefined where it has no part in it. */
  readonly spec: Hex | undefined
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
  const payers = createMeters({ clock })
  const deployments = createMeters({ clock })
  const proven = createRecent<string, true>(limits.provenPayersMax)
  const isInGoodStanding = (payer: string) =>
    proven.has(payer) && payers.level(payer, perPayerPerMinuteMax) < 1

  return {
    assertRoom({ payer, spec }) {
      if (payers.isFull(payer, perPayerPerMinuteMax))
        throw reached(
          'of this payer',
          perPayerPerMinuteMax,
          payers.secondsToRoom(payer, perPayerPerMinuteMax),
        )
      if (
        spec !== undefined &&
        deployments.isFull(spec, perDeploymentPerMinuteMax) &&
        !isInGoodStanding(payer)
      )
        throw reached(
          'of this deployment',
          perDeploymentPerMinuteMax,
          deployments.secondsToRoom(spec, perDeploymentPerMinuteMax),
        )
    },
    addUnpaid({ payer, spec }) {
      payers.add(payer, perPayerPerMinuteMax)
      if (spec !== undefined) deployments.add(spec, perDeploymentPerMinuteMax)
    },
    addPaid({ payer }) {
      proven.set(payer, true)
    },
  }
}

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
