import { callHeaders } from '../../protocol/call.ts'
import type { ErrorCode } from '../../protocol/errors.ts'
import { problemType } from '../../protocol/errors.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'

/** What a provider's refusal says about the provider. */
export type RefusalMeaning =
  /** This deployment is not for it, or its owner has nothing there: another provider may well take the call. */
  | 'not_here'
  /** It is full or stops; so it is with every deployment. */
  | 'busy'
  /** Something of its own does not work. */
  | 'faulty'

/**
 * Refusals after which the same call may go to another provider. Not among them: what is about the request or the payment
 * that came with it, which would be refused everywhere, and what bounds an owner's expenses, which asking elsewhere
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

/** Failures by which nobody can tell whether the provider is in order: the caller's doing. */
export const isCallersFault = (code: ErrorCode): boolean =>
  code === 'bad_request' || code === 'headers_too_large' || code === 'body_too_large'

/**
 * Whether an answer may be a refusal from before anything ran. What a program answers, however it looks, carries the id of
 * its call, which no program can take off; so no charged answer is taken for one.
 */
export function mayBeRefusal(status: number, rawHeaders: RawHeaders): boolean {
  if (status < 400) return false
  let isProblem = false
  let lengthBytes = -1
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!.toLowerCase()
    const value = rawHeaders[index + 1]!
    if (name === callHeaders.call) return false
    if (name === 'content-type') isProblem = value.toLowerCase().split(';', 1)[0]?.trim() === problemType
    else if (name === 'content-length') lengthBytes = Number(value)
  }
  return isProblem && lengthBytes > 0 && lengthBytes <= limits.problemBytesMax
}
