import type { Address } from 'viem'
import { ProtocolError } from './errors.ts'
import type { Grant } from './grant.ts'
import { limits } from './limits.ts'
import {
  addUsdc,
  formatUsdc,
  maxUsdc,
  minUsdc,
  multiplyUsdc,
  subtractUsdc,
  type Usdc,
  usdc,
  zeroUsdc,
} from './usdc.ts'
import { type Correction, isAtLeast, type SignedVoucher, type Voucher } from './voucher.ts'

/**
 * What a client that pays by vouchers knows, and what it signs next. Plain data and pure functions: whoever keeps the
 * tab (memory, a file) takes each function's result in its place. The client trusts its own sums: `most` is what all
 * the calls that it sent may have cost, and a provider that claims more is not signed for any more.
 */
export interface VoucherTab {
  readonly payer: Address
  readonly provider: Address
  /** The payer, or a session key with a grant of its own. */
  readonly signer: Address
  readonly epoch: number
  /** The highest that was signed in this epoch; undefined where none was, or it was forgotten. */
  readonly signed: SignedVoucher | undefined
  /** What may have been charged at most, over all epochs, the open calls included. */
  readonly most: Totals
  /** The highest that the provider has claimed so far. */
  readonly claimed: Totals
  /** Calls that were sent and whose end is not known. */
  readonly open: readonly OpenCall[]
  /** What the calls of this session may have cost, for its cap. */
  readonly sessionUsdc: Usdc
  /**
   * Up to where vouchers were given away, for calls that are not this tab's to count. What may have been called for never falls below
   * it again.
   */
  readonly handedOut?: Totals | undefined
  /** Whether the provider has not been asked yet what was promised before. */
  readonly isFresh: boolean
  /** Why nothing is signed any more. */
  readonly broken: string | undefined
}

export interface Totals {
  readonly amountUsdc: Usdc
  readonly calls: number
}

export interface OpenCall {
  readonly id: string
  /** What it may cost at most. */
  readonly quoteUsdc: Usdc
  readonly sinceMs: number
}

/** How far ahead a client signs, and how much it lets a session cost. */
export interface SpendRules {
  /** Calls that a new voucher covers. */
  readonly windowCalls: number
  /** The most that a new voucher promises ahead; a single call may be dearer. */
  readonly windowUsdc?: Usdc
  /** The most for one call. */
  readonly maxPriceUsdc?: Usdc
  /** The most for all calls of this session. */
  readonly maxSpendUsdc?: Usdc
}

/**
 * Begins where the chain is. What an earlier self may have promised beyond that, the provider has to show: the first voucher
 * of a fresh tab promises nothing, so that its refusal tells.
 */
export function openTab(
  grant: Pick<Grant, 'payer' | 'provider' | 'signer' | 'epoch' | 'spentUsdc' | 'calls'>,
): VoucherTab {
  const { payer, provider, signer, epoch } = grant
  const totals = { amountUsdc: grant.spentUsdc, calls: grant.calls }
  return {
    payer,
    provider,
    signer,
    epoch,
    signed: undefined,
    most: totals,
    claimed: totals,
    open: [],
    sessionUsdc: zeroUsdc,
    isFresh: true,
    broken: undefined,
  }
}

export type VoucherDecision =
  /** To be sent alone, with one call: it will be refused, and nothing is known before. */
  | { readonly kind: 'probe'; readonly voucher: Voucher }
  /** This one covers the call already. */
  | { readonly kind: 'use'; readonly signed: SignedVoucher }
  | { readonly kind: 'sign'; readonly voucher: Voucher }
  /** `accounts_differ`, `spend_cap_reached`, `price_above_cap` or `too_many_requests`. */
  | { readonly kind: 'refuse'; readonly error: ProtocolError }

/** Which voucher one more call goes out with. It never promises more than a window beyond what was called for. */
export function decideVoucher(tab: VoucherTab, quoteUsdc: Usdc, rules: SpendRules): VoucherDecision {
  const error = findObstacle(tab, quoteUsdc, rules)
  if (error) return { kind: 'refuse', error }
  const { most, signed, payer, provider, epoch } = tab
  if (tab.isFresh) {
    const { amountUsdc: maxAmount, calls: maxCalls } = tab.claimed
    return { kind: 'probe', voucher: { payer, provider, maxAmount, maxCalls, epoch } }
  }
  const needed = { maxAmount: addUsdc(most.amountUsdc, quoteUsdc), maxCalls: most.calls + 1 }
  if (signed && isAtLeast(signed.voucher, needed)) return { kind: 'use', signed }
  const windowUsdc = chooseWindow(tab, quoteUsdc, rules)
  const ahead = {
    maxAmount: addUsdc(most.amountUsdc, windowUsdc),
    maxCalls: most.calls + Math.max(1, rules.windowCalls),
  }
  const before = signed?.voucher ?? ahead
  return {
    kind: 'sign',
    voucher: {
      payer,
      provider,
      // What was promised once cannot be taken back, and a provider takes no lower one.
      maxAmount: maxUsdc(before.maxAmount, ahead.maxAmount),
      maxCalls: Math.max(before.maxCalls, ahead.maxCalls),
      epoch,
    },
  }
}

function findObstacle(
  { broken, sessionUsdc, open }: VoucherTab,
  quoteUsdc: Usdc,
  { maxPriceUsdc, maxSpendUsdc }: SpendRules,
): ProtocolError | undefined {
  if (broken !== undefined) return accountsDiffer(broken)
  if (maxPriceUsdc !== undefined && quoteUsdc > maxPriceUsdc) {
    return new ProtocolError(
      'price_above_cap',
      `A call costs ${formatUsdc(quoteUsdc)} USDC, and you pay ${formatUsdc(maxPriceUsdc)} at most.`,
      { hint: 'Raise the maximum, or call another provider.', details: { price: quoteUsdc.toString() } },
    )
  }
  if (maxSpendUsdc !== undefined && sessionUsdc + quoteUsdc > maxSpendUsdc) {
    return new ProtocolError(
      'spend_cap_reached',
      `The calls of this session may have cost ${formatUsdc(sessionUsdc)} USDC, and ${formatUsdc(maxSpendUsdc)} is its cap.`,
      { hint: 'Nothing was signed for this call. Raise the cap, or stop here.' },
    )
  }
  if (open.length >= limits.voucherCallsOpenMax) {
    return new ProtocolError('too_many_requests', `${open.length} calls have not ended yet.`, {
      hint: 'Wait for some of them; one whose end was lost is forgotten after ten minutes.',
    })
  }
  return undefined
}

/** What a voucher to be given away promises, and the tab that stands by it. */
export type HandOutDecision =
  | { readonly kind: 'sign'; readonly voucher: Voucher; readonly tab: VoucherTab }
  /** As of `VoucherDecision`. */
  | { readonly kind: 'refuse'; readonly error: ProtocolError }

/**
 * Promises so many calls beyond all that may have been called for, to whoever gets the voucher. It counts as if all of it were called
 * for: a provider may claim that much from then on, and no more. Other calls of the same key use it up, too, as vouchers are cumulative.
 */
export function decideHandOut(
  tab: VoucherTab,
  { calls, quoteUsdc }: { readonly calls: number; readonly quoteUsdc: Usdc },
  rules: SpendRules,
): HandOutDecision {
  const error = findObstacle(tab, quoteUsdc, rules)
  if (error) return { kind: 'refuse', error }
  const { payer, provider, epoch, most } = tab
  const promised = {
    amountUsdc: addUsdc(most.amountUsdc, multiplyUsdc(quoteUsdc, calls)),
    calls: most.calls + calls,
  }
  return {
    kind: 'sign',
    voucher: { payer, provider, maxAmount: promised.amountUsdc, maxCalls: promised.calls, epoch },
    tab: { ...tab, most: promised, handedOut: promised },
  }
}

/** A window in money: as wide as the rules want it, within what the session may still cost, and one call at least. */
function chooseWindow(
  { sessionUsdc }: VoucherTab,
  quoteUsdc: Usdc,
  { windowCalls, windowUsdc, maxSpendUsdc }: SpendRules,
): Usdc {
  const wideUsdc = windowUsdc ?? multiplyUsdc(quoteUsdc, Math.max(1, windowCalls))
  const leftUsdc =
    maxSpendUsdc === undefined ? wideUsdc : (subtractUsdc(maxSpendUsdc, sessionUsdc) ?? zeroUsdc)
  return maxUsdc(quoteUsdc, minUsdc(wideUsdc, leftUsdc))
}

/** Takes a voucher that was just signed. */
export function keepSigned(tab: VoucherTab, signed: SignedVoucher): VoucherTab {
  const isHigher = !tab.signed || isAtLeast(signed.voucher, tab.signed.voucher)
  return isHigher && signed.voucher.epoch === tab.epoch ? { ...tab, signed } : tab
}

/** Counts a call that is about to be sent. */
export function beginCall(tab: VoucherTab, call: OpenCall): VoucherTab {
  return {
    ...tab,
    most: { amountUsdc: addUsdc(tab.most.amountUsdc, call.quoteUsdc), calls: tab.most.calls + 1 },
    sessionUsdc: addUsdc(tab.sessionUsdc, call.quoteUsdc),
    open: [...forgetOld(tab.open, call.sinceMs), call],
  }
}

const forgetOld = (open: readonly OpenCall[], nowMs: number) =>
  open.filter(({ sinceMs }) => sinceMs + limits.voucherDoubtMs > nowMs)

/** How a call ended, as far as its caller can tell. */
export type CallEnd =
  | { readonly kind: 'charged'; readonly priceUsdc: Usdc; readonly totals: Totals | undefined }
  | { readonly kind: 'free'; readonly totals: Totals | undefined }
  /** It may have been charged or not, or may still be: it stays open until it is too old for that. */
  | { readonly kind: 'unknown' }

/** Adds up a call that has ended. A provider that claims too much breaks the tab. */
export function endCall(tab: VoucherTab, id: string, end: CallEnd): VoucherTab {
  const call = tab.open.find((open) => open.id === id)
  if (!call || end.kind === 'unknown') return tab
  if (end.kind === 'charged' && end.priceUsdc > call.quoteUsdc) {
    return breakTab(
      tab,
      `it charged ${formatUsdc(end.priceUsdc)} USDC for a call at ${formatUsdc(call.quoteUsdc)}`,
    )
  }
  const costUsdc = end.kind === 'charged' ? end.priceUsdc : zeroUsdc
  return takeClaim(closeCall(tab, call, costUsdc), end.totals)
}

function closeCall(tab: VoucherTab, call: OpenCall, costUsdc: Usdc): VoucherTab {
  const savedUsdc = usdc(call.quoteUsdc - costUsdc)
  const most = {
    amountUsdc: subtractUsdc(tab.most.amountUsdc, savedUsdc) ?? zeroUsdc,
    calls: costUsdc === zeroUsdc ? tab.most.calls - 1 : tab.most.calls,
  }
  return {
    ...tab,
    most: withHandedOut(most, tab),
    sessionUsdc: subtractUsdc(tab.sessionUsdc, savedUsdc) ?? zeroUsdc,
    open: tab.open.filter((open) => open !== call),
  }
}

/** Holds what a provider claims against what was called for; where no call is open, the two meet. */
function takeClaim(tab: VoucherTab, totals: Totals | undefined): VoucherTab {
  if (!totals) return tab
  if (exceeds(totals, tab.most)) {
    return breakTab(tab, `it claims ${describe(totals)}, and ${describe(tab.most)} were called for at most`)
  }
  const claimed = {
    amountUsdc: maxUsdc(totals.amountUsdc, tab.claimed.amountUsdc),
    calls: Math.max(totals.calls, tab.claimed.calls),
  }
  return { ...tab, claimed, most: tab.open.length === 0 ? withHandedOut(claimed, tab) : tab.most }
}

const withHandedOut = (totals: Totals, { handedOut }: VoucherTab): Totals =>
  handedOut
    ? {
        amountUsdc: maxUsdc(totals.amountUsdc, handedOut.amountUsdc),
        calls: Math.max(totals.calls, handedOut.calls),
      }
    : totals

const exceeds = (totals: Totals, most: Totals) =>
  totals.amountUsdc > most.amountUsdc || totals.calls > most.calls

const describe = ({ amountUsdc, calls }: Totals) => `${formatUsdc(amountUsdc)} USDC for ${calls} calls`

export type CorrectionVerdict =
  /** Send the call again; `decideVoucher` knows what with. */
  | { readonly kind: 'resume'; readonly tab: VoucherTab }
  /** The grant is said to be another one now: read it from the chain and open a new tab, or give up. */
  | { readonly kind: 'grant_changed'; readonly epoch: number }
  | { readonly kind: 'refuse'; readonly tab: VoucherTab }

/**
 * Learns from a refused voucher. A client without a memory goes on from the voucher that the provider shows, because its
 * own signature is on it; what it did not sign it does not believe.
 *
 * @param isSigned - Whether the tab's signer signed `correction.accepted`, checked by `assertVoucherSigned`.
 */
export function correctTab(
  tab: VoucherTab,
  id: string,
  { correction, isSigned }: { correction: Correction; isSigned: boolean },
): CorrectionVerdict {
  const call = tab.open.find((open) => open.id === id)
  const rest = call ? closeCall(tab, call, zeroUsdc) : tab
  const { accepted, epoch, chargedUsdc, chargedCalls, owedUsdc, owedCalls } = correction
  if (accepted && !(isSigned && isOfTab(accepted, tab, epoch))) {
    return refuse(rest, 'it shows a voucher that you never signed')
  }
  if (epoch !== tab.epoch) return { kind: 'grant_changed', epoch }
  const charged = { amountUsdc: chargedUsdc, calls: chargedCalls }
  const isNews = accepted && !(tab.signed && isAtLeast(tab.signed.voucher, accepted.voucher))
  if (!isNews && !tab.isFresh) {
    const next = takeClaim(rest, charged)
    return next.broken === undefined ? { kind: 'resume', tab: next } : { kind: 'refuse', tab: next }
  }
  // Somebody with this key, an earlier self perhaps, has signed more than this tab knows of: so far it may have been spent.
  const owed = { amountUsdc: owedUsdc, calls: owedCalls }
  const promised = accepted
    ? { amountUsdc: accepted.voucher.maxAmount, calls: accepted.voucher.maxCalls }
    : tab.claimed
  if (exceeds(owed, promised) || exceeds(charged, owed)) {
    return refuse(rest, `it claims ${describe(owed)}, and ${describe(promised)} were promised at most`)
  }
  const most = rest.open.reduce(
    (sum, { quoteUsdc }) => ({ amountUsdc: addUsdc(sum.amountUsdc, quoteUsdc), calls: sum.calls + 1 }),
    owed,
  )
  return {
    kind: 'resume',
    tab: { ...rest, signed: accepted, claimed: charged, most: withHandedOut(most, rest), isFresh: false },
  }
}

const isOfTab = ({ voucher, signer }: SignedVoucher, tab: VoucherTab, epoch: number) =>
  voucher.payer === tab.payer &&
  voucher.provider === tab.provider &&
  signer === tab.signer &&
  voucher.epoch === epoch

const breakTab = (tab: VoucherTab, broken: string): VoucherTab => ({ ...tab, broken })

const refuse = (tab: VoucherTab, why: string): CorrectionVerdict => ({
  kind: 'refuse',
  tab: breakTab(tab, why),
})

/** What a broken tab says. */
export function accountsDiffer(why: string): ProtocolError {
  return new ProtocolError('accounts_differ', `The provider's accounts are not yours: ${why}.`, {
    hint: 'Nothing more is signed for it. What was promised is lost at most: revoke the grant, and ask the provider.',
  })
}
