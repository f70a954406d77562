import { createHash } from 'node:crypto'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { assertVoucherSigned, type SignedVoucher } from '../../protocol/voucher.ts'
import { assertVoucherAccess, parseVoucherToken, type VoucherToken } from '../../protocol/voucher-token.ts'
import { type Check, createKnownTokens, type KnownTokens } from './known-tokens.ts'
import type { PassDeskDeps, PassDeskOptions } from './passes.ts'

export interface VoucherDeskDeps extends PassDeskDeps {
  readonly log: Log
}

/**
 * Verifies vouchers, each signature once: all calls of a window cost one check, and an epoch one more for its access.
 * Whether a voucher covers a call is the ledger's matter.
 *
 * @returns what refuses with `voucher_invalid`; and with `voucher_not_for_provider`, `grant_missing` before any signature
 * is checked
 */
export function createVoucherDesk(
  { clock, grants, log }: VoucherDeskDeps,
  { provider, market }: PassDeskOptions,
): KnownTokens<SignedVoucher> {
  const accesses = createKnownAccesses(market)

  /** Only a key that has a grant here makes us compute. */
  function read(token: string): Check<SignedVoucher> {
    const shown = parseVoucherToken(token)
    const { signed } = shown
    const { voucher, signer } = signed
    if (voucher.provider !== provider) {
      throw new ProtocolError('voucher_not_for_provider', 'The voucher is for another provider.', {
        hint: `Sign one for ${provider}.`,
        details: { provider },
      })
    }
    if (!grants.grant(voucher.payer, signer)) {
      throw new ProtocolError(
        'grant_missing',
        `${voucher.payer} has no grant here for vouchers of ${signer}.`,
        {
          hint: `The payer makes one with "khachapuri approve <provider> --signer ${signer} --price <usdc> --budget <usdc>".`,
          details: { payer: voucher.payer, provider, signer },
        },
      )
    }
    const run = async () => {
      await accesses.verify(shown)
      await assertVoucherSigned(signed, market)
      log.debug('voucher_verified', { payer: voucher.payer, signer, maxCalls: voucher.maxCalls })
      return signed
    }
    // Payer and signer stand on the chain, so anybody can forge in their name; the access is nowhere to be read.
    return { name: voucher.payer + signer, isItsOwn: accesses.isKnown(shown), run }
  }

  return createKnownTokens(
    { clock },
    {
      read,
      cachedMax: limits.vouchersCachedMax,
      failuresPerSecondMax: limits.voucherFailuresPerSecondMax,
      noun: 'vouchers',
    },
  )
}

/** The access of each key's epoch that was verified last; as a digest, because it is worth money. */
function createKnownAccesses(market: Market) {
  const known = createRecent<string, string>(limits.vouchersCachedMax)
  const look = ({ signed: { voucher, signer }, access }: VoucherToken) => {
    const scope = [voucher.payer, signer, voucher.epoch].join('/')
    const digest = createHash('sha256').update(access).digest('base64')
    return { scope, digest, isKnown: known.get(scope) === digest }
  }
  return {
    isKnown: (token: VoucherToken) => look(token).isKnown,
    /** @throws ProtocolError `voucher_invalid` */
    async verify(token: VoucherToken): Promise<void> {
      const { scope, digest, isKnown } = look(token)
      if (isKnown) return
      await assertVoucherAccess(token, market)
      known.set(scope, digest)
    },
  }
}
