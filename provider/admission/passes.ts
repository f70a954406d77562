import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import type { Credits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { assertPassSigned, claimOfPass, invalidPass, type Pass, parsePass } from '../../protocol/pass.ts'
import type { SignatureClaim } from '../../protocol/signed-by.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { passRevoked } from '../ledger/revoked-passes.ts'
import type { Asker } from './asker.ts'
import type { ContractSignatures } from './contract-signatures.ts'
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
  /** Absent where payers that are contracts cannot be asked. */
  readonly contracts?: ContractSignatures
}

export interface PassDeskOptions {
  readonly provider: Address
  readonly market: Market
}

/** Whoever wants a call, at its price. */
export type Caller = Asker & { readonly priceUsdc: Usdc }

interface VerifiedPass {
  readonly pass: Pass
  /** Set where a contract vouches for it, which may take its word back. */
  readonly byContract: SignatureClaim | undefined
}

/**
 * Verifies passes, each signature once; contracts are asked again now and then.
 *
 * @returns what refuses with `pass_invalid`; and with `pass_not_for_provider`, `pass_revoked`, `grant_missing` before any
 * signature is checked
 */
export function createPassDesk(
  { clock, grants, revokedPasses, hasPaid, idleChecks, contracts }: PassDeskDeps,
  { provider, market }: PassDeskOptions,
): KnownTokens<Pass, Caller> {
  /** The signatures that contracts have taken: they may take others for the same pass, as many as its bearer likes to write. */
  const taken = createRecent<Hex, Hex>(limits.passesCachedMax)

  /** Only a payer of ours, named in a pass for us, makes us compute. */
  function read(token: string, { priceUsdc }: Caller): Check<VerifiedPass> {
    const shown = parsePass(token)
    const { pass } = shown
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
      run: () => verify(pass, claimOfPass(shown, market)),
      count: () => idleChecks.add(payer, means),
    }
  }

  async function verify(pass: Pass, claim: SignatureClaim): Promise<VerifiedPass> {
    const first = taken.get(claim.hash)
    if (first !== undefined && first !== claim.signature)
      throw invalidPass('it is known here with another signature')
    const signedBy = await assertPassSigned(claim, contracts?.ask)
    if (signedBy === 'key') return { pass, byContract: undefined }
    taken.set(claim.hash, claim.signature)
    return { pass, byContract: claim }
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
      const { pass, byContract } = await known.verify(token, caller)
      if (byContract && !contracts?.isStillGood(byContract))
        throw invalidPass('its payer, a contract, has taken its signature back')
      assertNotRevoked(pass)
      return pass
    },
  }
}
