import type { Address } from 'viem'
import { assert, unreachable } from '../../protocol/base/assert.ts'
import { decideCredits } from '../../protocol/credits.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { decideGrant, type Grant, type GrantVerdict } from '../../protocol/grant.ts'
import { decideOwnerPays, type OwnerVerdict } from '../../protocol/owner.ts'
import { decidePass, type Pass, type PassVerdict } from '../../protocol/pass.ts'
import { addUsdc, formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { correctionDetails, coversCall, isAtLeast, type SignedVoucher } from '../../protocol/voucher.ts'
import type { Lines } from './books.ts'
import type { Claim } from './claim.ts'
import { passRevoked } from './revoked-passes.ts'

export interface ClaimFacts {
  readonly provider: Address
  /** The highest voucher of the claim's lane that is on disk. */
  readonly accepted: SignedVoucher | undefined
  /** Asked here, too: between a pass's check and this moment lies whatever the caller takes to send its request. */
  readonly isRevoked: (pass: Pass) => boolean
}

/**
 * Whether a claim is covered: by the pass or by the owner's policy, by the grant, and by the voucher; or by a pass and
 * trial credits. The voucher comes last: where the grant has nothing left, a higher one would not help.
 *
 * @returns why not, as the caller reads it; undefined where it is covered.
 */
export function decideClaim(
  claim: Claim,
  lines: Lines,
  { provider, accepted, isRevoked }: ClaimFacts,
): ProtocolError | undefined {
  const { payer, grant, priceUsdc, nowSeconds, chainLostSeconds, noticeHoursMin } = claim
  if ((payer.kind === 'pass' || payer.kind === 'trial') && isRevoked(payer.pass))
    return passRevoked(payer.pass)
  if (payer.kind === 'trial') return refuseTrial(claim, payer.pass, { lines, provider })
  const refusal =
    payer.kind === 'pass'
      ? refuseByPass(claim, payer.pass, lines, provider)
      : payer.kind === 'owner'
        ? refuseByOwner(claim, lines)
        : undefined
  if (refusal) return refusal
  const owedUsdc = addUsdc(lines.account.chargedUsdc, lines.account.reservedUsdc)
  const verdict = decideGrant({
    grant,
    owedUsdc,
    priceUsdc,
    nowSeconds,
    chainLostSeconds,
    noticeHoursMin,
  })
  return (
    explainGrant(verdict, { claim, provider }) ??
    (payer.kind === 'voucher' ? refuseByVoucher(claim, payer.signed, { lines, accepted }) : undefined)
  )
}

/** A call is covered by the voucher that it brings: an older one pays as far as it goes, and no further. */
function refuseByVoucher(
  { grant, priceUsdc }: Claim,
  { voucher }: SignedVoucher,
  { lines: { account }, accepted }: { lines: Lines; accepted: SignedVoucher | undefined },
): ProtocolError | undefined {
  assert(grant && grant.epoch === account.epoch, 'a voucher is held against its own lane')
  const { chargedUsdc, calls, callsInFlight } = account
  const owedUsdc = addUsdc(chargedUsdc, account.reservedUsdc)
  const owedCalls = calls + callsInFlight
  const isOfEpoch = voucher.epoch === grant.epoch
  const isHighest = accepted !== undefined && isAtLeast(accepted.voucher, voucher)
  if (isOfEpoch && isHighest && coversCall({ voucher, owedUsdc, calls: owedCalls, priceUsdc }))
    return undefined

  const facts = { epoch: grant.epoch, accepted, chargedUsdc, chargedCalls: calls, owedUsdc, owedCalls }
  const details = { ...correctionDetails(facts), price: priceUsdc.toString() }
  if (!isOfEpoch) {
    return new ProtocolError(
      'voucher_epoch_other',
      `The voucher is of epoch ${voucher.epoch}, and the grant of epoch ${grant.epoch}.`,
      { hint: 'Look at the grant on chain, then sign a voucher for its epoch.', details },
    )
  }
  if (!isHighest) {
    return new ProtocolError('voucher_too_low', 'A voucher before it promised more money or more calls.', {
      hint: 'Sign one that promises at least as much of both as "accepted".',
      details,
    })
  }
  return new ProtocolError(
    'voucher_too_low',
    `The call costs ${formatUsdc(priceUsdc)} USDC on top of ${formatUsdc(owedUsdc)} for ${owedCalls} calls; the voucher promises ${formatUsdc(voucher.maxAmount)} for ${voucher.maxCalls}.`,
    {
      hint: 'Sign a higher one. Calls that are in flight count.',
      details,
    },
  )
}

/**
 * A trial call takes nothing of what its pass may spend, so of the pass only where and when it holds counts. Nor does it
 * matter for how long the chain was not seen: credits cannot be taken back.
 */
function refuseTrial(
  claim: Claim,
  pass: Pass,
  { lines: { account }, provider }: { lines: Lines; provider: Address },
): ProtocolError | undefined {
  const { deployment, nowSeconds, credits } = claim
  assert(claim.priceUsdc === zeroUsdc, 'a trial call costs nothing')
  const free = { priceUsdc: zeroUsdc, spentUsdc: zeroUsdc }
  const refusal = explainPass(decidePass({ pass, provider, deployment, nowSeconds, ...free }), claim, pass)
  if (refusal) return refusal
  const used = account.calls + account.callsInFlight
  const verdict = decideCredits(credits, used)
  if (verdict.kind === 'covers') return undefined
  return new ProtocolError(
    'credits_exhausted',
    `All ${verdict.granted} trial calls of ${pass.payer} are used or in flight.`,
    {
      hint: 'Go on with a grant: "khachapuri approve <provider> --price <usdc> --budget <usdc>".',
      details: { payer: pass.payer, provider, granted: verdict.granted, used },
    },
  )
}

function refuseByPass(claim: Claim, pass: Pass, lines: Lines, provider: Address): ProtocolError | undefined {
  assert(lines.pass, 'a claim on a pass has its line')
  const { deployment, priceUsdc, nowSeconds } = claim
  const spentUsdc = addUsdc(lines.pass.chargedUsdc, lines.pass.reservedUsdc)
  return explainPass(
    decidePass({ pass, provider, deployment, priceUsdc, spentUsdc, nowSeconds }),
    claim,
    pass,
  )
}

function refuseByOwner(claim: Claim, lines: Lines): ProtocolError | undefined {
  const { policy, priceUsdc, origin } = claim
  assert(lines.owner && policy, 'an owner pays by a policy')
  const spentTodayUsdc = addUsdc(lines.owner.chargedUsdc, lines.owner.reservedUsdc)
  const usage = { spentTodayUsdc, callsThisMinute: lines.owner.calls }
  return explainOwner(decideOwnerPays({ policy, usage, priceUsdc, origin }), claim)
}

function explainGrant(
  verdict: GrantVerdict,
  { claim, provider }: { claim: Claim; provider: Address },
): ProtocolError | undefined {
  const { payer, priceUsdc, grant, noticeHoursMin } = claim
  const details = { payer: payer.address, provider, price: priceUsdc.toString(), ...grantDetails(grant) }
  const hint =
    'The payer makes or improves one with "khachapuri approve <provider> --price <usdc> --budget <usdc>".'
  switch (verdict.kind) {
    case 'covers':
      return undefined
    case 'missing':
      return new ProtocolError('grant_missing', `${payer.address} has no grant for this provider.`, {
        hint,
        details,
      })
    case 'expired':
      return new ProtocolError('grant_expired', `The grant of ${payer.address} has ended or is about to.`, {
        hint,
        details,
      })
    case 'notice_too_short':
      return new ProtocolError(
        'notice_too_short',
        `The grant of ${payer.address} has a notice of ${verdict.noticeHours} hours, and the provider needs ${noticeHoursMin}.`,
        {
          hint: `The payer lengthens it with "khachapuri approve <provider> --price <usdc> --budget <usdc> --notice ${noticeHoursMin}h".`,
          details: { ...details, noticeHours: verdict.noticeHours, noticeHoursMin },
        },
      )
    case 'unseen':
      return new ProtocolError(
        'chain_unreachable',
        `The provider has not seen the chain for about as long as the notice of the grant of ${payer.address}.`,
        { hint: 'Come back when the chain answers, or call another provider.', details },
      )
    case 'price_above_cap':
      return aboveCap('grant', verdict.capUsdc, { priceUsdc, hint, details })
    case 'too_low':
      return new ProtocolError(
        'grant_too_low',
        `The call costs ${formatUsdc(priceUsdc)} USDC and the grant of ${payer.address} has ${formatUsdc(verdict.leftUsdc)} left.`,
        { hint, details: { ...details, left: verdict.leftUsdc.toString() } },
      )
    default:
      return unreachable(verdict)
  }
}

function grantDetails(grant: Grant | undefined) {
  return grant && { cap: grant.priceUsdc.toString(), expiry: grant.expiry }
}

function explainPass(verdict: PassVerdict, { priceUsdc }: Claim, pass: Pass): ProtocolError | undefined {
  const hint = 'Make another pass with "khachapuri pass create".'
  const details = { price: priceUsdc.toString(), pass: pass.id }
  switch (verdict.kind) {
    case 'covers':
      return undefined
    case 'not_yet_valid':
      return new ProtocolError('pass_invalid', 'The pass is not valid yet.', {
        hint: 'Wait until it begins, or make another pass.',
        details: { ...details, validAfter: pass.validAfter },
      })
    case 'expired':
      return new ProtocolError('pass_expired', 'The pass has expired.', {
        hint,
        details: { ...details, validBefore: pass.validBefore },
      })
    case 'other_provider':
      return new ProtocolError('pass_not_for_provider', 'The pass is for other providers.', {
        hint,
        details: { ...details, providers: pass.providers },
      })
    case 'other_deployment':
      return new ProtocolError('pass_not_for_deployment', 'The pass is for another deployment.', {
        hint,
        details,
      })
    case 'price_above_cap':
      return aboveCap('pass', verdict.capUsdc, { priceUsdc, hint, details })
    case 'exhausted':
      return new ProtocolError(
        'pass_exhausted',
        `The call costs ${formatUsdc(priceUsdc)} USDC and the pass has ${formatUsdc(verdict.leftUsdc)} left.`,
        { hint, details: { ...details, cap: pass.maxSpend.toString(), left: verdict.leftUsdc.toString() } },
      )
    default:
      return unreachable(verdict)
  }
}

function explainOwner(verdict: OwnerVerdict, { priceUsdc, payerChoice }: Claim): ProtocolError | undefined {
  const details = { price: priceUsdc.toString() }
  /** Where only the owner pays, a pass is not even looked at. */
  const otherwise = payerChoice === 'owner' ? 'ask the owner for more' : 'call it with a pass of your own'
  switch (verdict.kind) {
    case 'pays':
      return undefined
    case 'origin_not_allowed':
      return new ProtocolError(
        'origin_not_allowed',
        "The owner does not pay for pages of this request's origin.",
        {
          hint: `Ask the owner to add the origin${payerChoice === 'owner' ? '' : ', or call it with a pass of your own'}.`,
          details,
        },
      )
    case 'day_cap_reached':
      return new ProtocolError(
        'owner_cap_reached',
        `The owner pays ${formatUsdc(verdict.capUsdc)} USDC a day for this, and today's is spent.`,
        {
          hint: `Come back tomorrow (UTC), or ${otherwise}.`,
          details: { ...details, cap: verdict.capUsdc.toString() },
        },
      )
    case 'minute_cap_reached':
      return new ProtocolError('owner_cap_reached', `The owner pays for ${verdict.calls} calls a minute.`, {
        hint: `Wait a minute, or ${otherwise}.`,
        details: { ...details, callsPerMinute: verdict.calls },
      })
    default:
      return unreachable(verdict)
  }
}

function aboveCap(
  what: 'grant' | 'pass',
  capUsdc: Usdc,
  { priceUsdc, hint, details }: { priceUsdc: Usdc; hint: string; details: Readonly<Record<string, unknown>> },
): ProtocolError {
  return new ProtocolError(
    'price_above_cap',
    `The call costs ${formatUsdc(priceUsdc)} USDC; the ${what} allows ${formatUsdc(capUsdc)}.`,
    { hint, details: { ...details, cap: capUsdc.toString() } },
  )
}
