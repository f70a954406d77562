import { createHmac, randomBytes } from 'node:crypto'
import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { type Pass, parsePass, verifyPass } from '../../protocol/pass.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { createFailureBucket } from './failure-bucket.ts'

/** Knows passes by sight: a signature is checked once, then a token is recognised by its HMAC in microseconds. */
export interface PassDesk {
  /**
   * @throws ProtocolError `pass_invalid`; `pass_not_for_provider`, `grant_missing` before any signature is checked;
   * `too_many_requests` while too many signatures fail (passes that are known already go on)
   */
  verify(token: string): Promise<Pass>
}

export interface PassDeskDeps {
  readonly clock: Clock
  readonly grants: { grant(payer: Address): Grant | undefined }
}

export interface PassDeskOptions {
  readonly provider: Address
  readonly market: Market
}

export function createPassDesk({ clock, grants }: PassDeskDeps, options: PassDeskOptions): PassDesk {
  const { provider, market } = options
  // The tokens themselves are money and are not kept.
  const secret = randomBytes(32)
  const known = new Map<string, Pass>()
  const checking = new Map<string, Promise<Pass>>()
  const failures = createFailureBucket(clock, limits.passFailuresPerSecondMax)

  function remember(id: string, pass: Pass): void {
    known.set(id, pass)
    const oldest = known.size > limits.passesCachedMax ? known.keys().next().value : undefined
    if (oldest !== undefined) known.delete(oldest)
  }

  /** Only a payer of ours, named in a pass for us, makes us compute. */
  function assertWorthChecking(token: string): void {
    const { pass } = parsePass(token)
    if (!pass.providers.includes(provider)) {
      throw new ProtocolError('pass_not_for_provider', 'The pass is for other providers.', {
        hint: `Make one for ${provider} with "khachapuri pass create".`,
        details: { provider, providers: pass.providers },
      })
    }
    if (!grants.grant(pass.payer)) {
      throw new ProtocolError('grant_missing', `${pass.payer} has no grant for this provider.`, {
        hint: 'The payer makes one with "khachapuri approve".',
        details: { payer: pass.payer, provider },
      })
    }
    if (failures.isFull()) {
      throw new ProtocolError('too_many_requests', 'Too many passes with a wrong signature arrive here.', {
        hint: 'Send it again in a second.',
      })
    }
  }

  async function check(id: string, token: string): Promise<Pass> {
    try {
      const pass = await verifyPass(token, market)
      remember(id, pass)
      return pass
    } catch (error) {
      failures.add()
      throw error
    } finally {
      checking.delete(id)
    }
  }

  return {
    async verify(token) {
      const id = createHmac('sha256', secret).update(token).digest('base64')
      const pass = known.get(id)
      if (pass) {
        known.delete(id)
        known.set(id, pass)
        return pass
      }
      const same = checking.get(id)
      if (same) return same
      assertWorthChecking(token)
      const checked = check(id, token)
      checking.set(id, checked)
      return checked
    },
  }
}
