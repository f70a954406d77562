import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Credits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { type Pass, parsePass, verifyPass } from '../../protocol/pass.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { passRevoked } from '../ledger/revoked-passes.ts'
import { type Check, createKnownTokens, type KnownTokens } from './known-tokens.ts'

export interface PassDeskDeps {
  readonly clock: Clock
  readonly grants: {
    grant(payer: Address, signer?: Address): Grant | undefined
    credits(user: Address): Credits | undefined
  }
  readonly revokedPasses: { has(pass: Pass): boolean }
}

export interface PassDeskOptions {
  readonly provider: Address
  readonly market: Market
}

/**
 * Verifies passes, each signature once.
 *
 * @returns what refuses with `pass_invalid`; and with `pass_not_for_provider`, `pass_revoked`, `grant_missing` before any
 * signature is checked
 */
export function createPassDesk(
  { clock, grants, revokedPasses }: PassDeskDeps,
  { provider, market }: PassDeskOptions,
): KnownTokens<Pass> {
  /** Only a payer of ours, named in a pass for us, makes us compute. */
  function read(token: string): Check<Pass> {
    const { pass } = parsePass(token)
    if (!pass.providers.includes(provider)) {
      throw new ProtocolError('pass_not_for_provider', 'The pass is for other providers.', {
        hint: `Make one for ${provider} with "khachapuri pass create".`,
        details: { provider, providers: pass.providers },
      })
    }
    assertNotRevoked(pass)
    if (!grants.grant(pass.payer) && !grants.credits(pass.payer)) {
      throw new ProtocolError('grant_missing', `${pass.payer} has no grant for this provider.`, {
        hint: 'The payer makes one with "khachapuri approve".',
        details: { payer: pass.payer, provider },
      })
    }
    return { name: pass.payer, run: () => verifyPass(token, market) }
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
    async verify(token) {
      const pass = await known.verify(token)
      assertNotRevoked(pass)
      return pass
    },
  }
}
