import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Credits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { createMeters } from './meters.ts'

/**
 * Counts the good signatures of a payer that were checked and that no paid call came of: whoever has a grant could sign new
 * passes and vouchers without end, and each costs more to check than a call. How many are checked in a minute is what its
 * money could pay for, within bounds; each call that is paid for gives one back.
 */
export interface IdleChecks {
  /** @throws ProtocolError `too_many_requests` with `retryAfterSeconds` */
  assertRoom(payer: Address, means: Means): void
  /** One was checked and good: strangers can forge in a payer's name, and must not use up its share. */
  add(payer: Address, means: Means): void
  /** A call of this payer was paid for. */
  addPaid(payer: Address): void
}

/** What a payer could pay with here. */
export interface Means {
  readonly grant: Grant | undefined
  readonly credits: Credits | undefined
  readonly priceUsdc: Usdc
}

export function createIdleChecks({ clock }: { clock: Clock }): IdleChecks {
  const payers = createMeters({ clock })
  return {
    assertRoom(payer, means) {
      const perMinuteMax = boundOf(means)
      if (payers.isFull(payer, perMinuteMax))
        throw tooMany(perMinuteMax, payers.secondsToRoom(payer, perMinuteMax))
    },
    add: (payer, means) => payers.add(payer, boundOf(means)),
    addPaid: (payer) => payers.takeBack(payer),
  }
}

function boundOf({ grant, credits, priceUsdc }: Means): number {
  const { idleChecksPerPayerPerMinuteMin: min, idleChecksPerPayerPerMinuteMax: max } = limits
  return Math.min(
    max,
    Math.max(min, callsPayable(grant, priceUsdc), (credits?.granted ?? 0) - (credits?.used ?? 0)),
  )
}

function callsPayable(grant: Grant | undefined, priceUsdc: Usdc): number {
  if (!grant) return 0
  return priceUsdc === zeroUsdc ? Number.POSITIVE_INFINITY : Number(grant.budgetUsdc / priceUsdc)
}

const tooMany = (perMinuteMax: number, retryAfterSeconds: number) =>
  new ProtocolError(
    'too_many_requests',
    `More than ${perMinuteMax} new passes or vouchers of this payer came within a minute, and paid for nothing.`,
    {
      hint: `Send it again in ${retryAfterSeconds} s, or use one pass for more calls.`,
      details: { retryAfterSeconds },
    },
  )
