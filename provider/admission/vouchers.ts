import { hash } from 'node:crypto'
import type { Hex } from 'viem'
import type { Log } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { assertVoucherSigned, type SignedVoucher } from '../../protocol/voucher.ts'
import { assertVoucherAccess, parseVoucherToken } from '../../protocol/voucher-token.ts'
import type { VoucherAccesses } from '../ledger/voucher-accesses.ts'
import { type Check, createKnownTokens, type KnownTokens } from './known-tokens.ts'
import type { Caller, PassDeskDeps, PassDeskOptions } from './passes.ts'

export interface VoucherDeskDeps extends PassDeskDeps {
  readonly log: Log
  readonly voucherAccesses: VoucherAccesses
}

/**
 * Verifies vouchers, each signature once: all calls of a window cost one check, and an epoch one more for its access.
 * Whether a voucher covers a call is the ledger's matter.
 *
 * @returns what refuses with `voucher_invalid`; and with `voucher_not_for_provider`, `grant_missing` before any signature
 * is checked
 */
export function createVoucherDesk(
  { clock, grants, idleChecks, voucherAccesses, log }: VoucherDeskDeps,
  { provider, market }: PassDeskOptions,
): KnownTokens<SignedVoucher, Caller> {
  /** Only a key that has a grant here makes us compute. */
  function read(token: string, { priceUsdc }: Caller): Check<SignedVoucher> {
    const shown = parseVoucherToken(token)
    const { signed } = shown
    const { voucher, signer } = signed
    if (voucher.provider !== provider) {
      throw new ProtocolError('voucher_not_for_provider', 'The voucher is for another provider.', {
        hint: `Sign one for ${provider}.`,
        details: { provider },
      })
    }
    const grant = grants.grant(voucher.payer, signer)
    if (!grant) {
      throw new ProtocolError(
        'grant_missing',
        `${voucher.payer} has no grant here for vouchers of ${signer}.`,
        {
          hint: `The payer makes one with "khachapuri approve <provider> --signer ${signer} --price <usdc> --budget <usdc>".`,
          details: { payer: voucher.payer, provider, signer },
        },
      )
    }
    const { payer, epoch } = voucher
    const proved = { payer, signer, epoch, digest: digestOf(shown.access) }
    const isProved = voucherAccesses.has(proved)
    const means = { grant, credits: undefined, priceUsdc }
    return {
      // Payer and signer stand on the chain, so anybody can forge in their name; the access is nowhere to be read.
      ...(isProved && { secret: { name: payer + signer, payer } }),
      assertRoom: () => idleChecks.assertRoom(payer, means),
      async run() {
        if (!isProved) await assertVoucherAccess(shown, market)
        await assertVoucherSigned(signed, market)
        if (!isProved) await voucherAccesses.keep(proved)
        log.debug('voucher_verified', { payer, signer, maxCalls: voucher.maxCalls })
        return signed
      },
      count: () => idleChecks.add(payer, means),
    }
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

/** An access is worth money: it is kept nowhere. */
const digestOf = (access: Hex): Hex => `0x${hash('sha256', access, 'hex')}`
