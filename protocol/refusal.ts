import type { ErrorCode } from './errors.ts'

/** What a provider's refusal says about the provider. */
export type RefusalMeaning =
  /** This deployment is not for it, or its owner or caller has nothing there: another provider may well take the call. */
  | 'not_here'
  /** It is full or stops; so it is with every deployment. */
  | 'busy'
  /** Something of its own does not work. */
  | 'faulty'

/**
 * Refusals from before anything ran, after which the same call may go to another provider. Not among them: what is about the request
 * or the payment that came with it, which would be refused everywhere, and what bounds an owner's expenses, which asking elsewhere
 * would be a way around.
 */
const meanings: Partial<Readonly<Record<ErrorCode, RefusalMeaning>>> = {
  cid_not_found: 'not_here',
  content_too_large: 'not_here',
  deployment_not_for_provider: 'not_here',
  runtime_unavailable: 'not_here',
  egress_refused: 'not_here',
  limits_too_high: 'not_here',
  owner_denied: 'not_here',
  deployment_denied: 'not_here',
  runtime_denied: 'not_here',
  deployment_paused: 'not_here',
  program_resting: 'not_here',
  concurrency_reached: 'not_here',
  grant_missing: 'not_here',
  grant_expired: 'not_here',
  grant_too_low: 'not_here',
  notice_too_short: 'not_here',
  price_above_cap: 'not_here',
  provider_busy: 'busy',
  provider_stopping: 'busy',
  ledger_unavailable: 'faulty',
  sandbox_unavailable: 'faulty',
  content_unreachable: 'faulty',
  cid_mismatch: 'faulty',
  local_service_down: 'faulty',
}

/** @returns undefined where the refusal is the answer. */
export function meaningOf(code: string | undefined): RefusalMeaning | undefined {
  return code !== undefined && Object.hasOwn(meanings, code) ? meanings[code as ErrorCode] : undefined
}

/** Refusals of one voucher of a set: those that the other providers get are others. */
const ofOneVoucher: ReadonlySet<string> = new Set<ErrorCode>([
  'voucher_invalid',
  'voucher_not_for_provider',
  'voucher_too_low',
  'voucher_epoch_other',
])

export const isOfOneVoucher = (code: string | undefined): boolean =>
  code !== undefined && ofOneVoucher.has(code)
