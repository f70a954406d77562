import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Credits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { type Pass, parsePass, verifyPass } from '../../protocol/pass.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { passRevoked } from '../ledger/revoked-passes.ts'
import type { Asker } from './asker.ts'
import type { IdleChecks } from './idle-checks.ts'
import { type Check, createKnownTokens, type KnownTokens } from './known-tokens.ts'

export interface PassDeskDeps {
  readonly clock: Clock
  readonly grants: {
    grant(payer: Address, signer?: Address): Grant | undefined
    credits(user: Address): Credits | undefined
  }
  readonly revokedPasses: { has(pass: Pass): boolean }
  /** Whether a pass under this id has paid here: then only who has seen it knows the id. */
  readonly hasPaid: (pass: Pass) => boolean
  readonly idleChecks: Pick<IdleChecks, 'assertRoom' | 'add'>
}

export interface PassDeskOptions {
  readonly provider: Address
  readonly market: Market
}

/** Whoever wants a call, at its price. */
export type Caller = Asker & { readonly priceUsdc: Usdc }

/**
 * Verifies passes, each signature once.
 *
 * @returns what refuses with `pass_invalid`; and with `pass_not_for_provider`, `pass_revoked`, `grant_missing` before any
 * signature is checked
 */
export function createPassDesk(
  { clock, grants, revokedPasses, hasPaid, idleChecks }: PassDeskDeps,
  { provider, market }: PassDeskOptions,
): KnownTokens<Pass, Caller> {
  /** Only a payer of ours, named in a pass for us, makes us compute. */
  function read(token: string, { priceUsdc }: Caller): Check<Pass> {
    const { pass } = parsePass(token)
    if (!pass.providers.includes(provider)) {
      throw new ProtocolError('pass_not_for_provider', 'The pass is for other providers.', {
        hint: `Make one for ${provider} with "khachapuri pass create".`,
        details: { provider, providers: pass.providers },
      })
    }
    assertNotRevoked(pass)
    const { payer } = pass
    const means = { grant: grants.grant(payer), credits: grants.credits(payer), priceUsdc }
    if (!means.grant && !means.credits) {
      throw new ProtocolError('grant_missing', `${payer} has no grant for this provider.`, {
        hint: 'The payer makes one with "khachapuri approve".',
        details: { payer, provider },
      })
    }
    return {
      ...(hasPaid(pass) && { secret: { name: payer + pass.id, payer } }),
      assertRoom: () => idleChecks.assertRoom(payer, means),
      run: () => verifyPass(token, market),
      count: () => idleChecks.add(payer, means),
    }
  }

  function assertNotRevoked(pass: Pass): void {
    if (revokedPasses.has(pass)) throw passRevoked(pass)
  }

  const known = createKnownTokens(
    { clock },
    {
      read,
      cachedMax: limits.passesCachedMax,
      failuresPerSecondMax: limits.passFailuresPerSecondMax,
      noun: 'passes',
    },
  )
  return {
    async verify(token, caller) {
      const pass = await known.verify(token, caller)
      assertNotRevoked(pass)
      return pass
    },
  }
}
