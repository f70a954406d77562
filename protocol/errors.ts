/**
 * Every way in which this network says no. The codes are wire format: add, but never rename or reuse one.
 * `protocol/README.md` has a paragraph for each; a test compares the two lists.
 *
 * `retryable` means that the same request may succeed later without a change.
 */
export const errorTable = {
  // What was asked for
  bad_request: { status: 400, retryable: false },
  not_found: { status: 404, retryable: false },
  method_not_allowed: { status: 405, retryable: false },
  request_timeout: { status: 408, retryable: true },
  body_too_slow: { status: 408, retryable: true },
  body_too_large: { status: 413, retryable: false },
  host_unknown: { status: 421, retryable: false },
  https_required: { status: 403, retryable: false },
  too_many_requests: { status: 429, retryable: true },
  headers_too_large: { status: 431, retryable: false },

  // Who pays
  payment_required: { status: 402, retryable: false },
  grant_missing: { status: 402, retryable: false },
  grant_expired: { status: 402, retryable: false },
  notice_too_short: { status: 402, retryable: false },
  grant_too_low: { status: 402, retryable: false },
  price_above_cap: { status: 402, retryable: false },
  owner_cap_reached: { status: 402, retryable: true },
  unpaid_runs_reached: { status: 429, retryable: true },
  origin_not_allowed: { status: 403, retryable: false },
  pass_invalid: { status: 401, retryable: false },
  pass_expired: { status: 401, retryable: false },
  pass_not_for_provider: { status: 401, retryable: false },
  pass_not_for_deployment: { status: 401, retryable: false },
  pass_revoked: { status: 401, retryable: false },
  pass_exhausted: { status: 402, retryable: false },
  credits_exhausted: { status: 402, retryable: false },
  voucher_invalid: { status: 401, retryable: false },
  voucher_not_for_provider: { status: 401, retryable: false },
  voucher_too_low: { status: 402, retryable: false },
  voucher_epoch_other: { status: 402, retryable: false },
  payment_invalid: { status: 402, retryable: false },
  payment_mismatch: { status: 402, retryable: false },
  payment_expired: { status: 402, retryable: false },
  payment_failed: { status: 402, retryable: false },
  payment_used: { status: 409, retryable: false },
  payment_conflict: { status: 409, retryable: false },
  idempotency_conflict: { status: 409, retryable: false },
  idempotency_answer_gone: { status: 409, retryable: false },
  accounts_differ: { status: 409, retryable: false },
  statement_differs: { status: 409, retryable: false },
  attestation_invalid: { status: 409, retryable: false },
  receipt_invalid: { status: 400, retryable: false },
  receipt_differs: { status: 409, retryable: false },
  charged_twice: { status: 409, retryable: false },
  root_unpublished: { status: 409, retryable: true },
  replay_differs: { status: 409, retryable: false },
  replay_impossible: { status: 422, retryable: false },
  replay_inconclusive: { status: 409, retryable: true },
  spend_cap_reached: { status: 402, retryable: false },

  // What is to be run
  cid_malformed: { status: 400, retryable: false },
  cid_not_found: { status: 404, retryable: false },
  cid_mismatch: { status: 502, retryable: true },
  content_unreachable: { status: 504, retryable: true },
  content_too_large: { status: 422, retryable: false },
  deployment_invalid: { status: 422, retryable: false },
  deployment_not_for_provider: { status: 403, retryable: false },
  deployment_wrong_chain: { status: 422, retryable: false },
  signature_invalid: { status: 403, retryable: false },
  seal_broken: { status: 422, retryable: false },
  program_invalid: { status: 422, retryable: false },
  runtime_unavailable: { status: 501, retryable: false },
  egress_refused: { status: 403, retryable: false },
  limits_too_high: { status: 403, retryable: false },
  owner_denied: { status: 403, retryable: false },
  deployment_denied: { status: 403, retryable: false },
  runtime_denied: { status: 403, retryable: false },
  deployment_paused: { status: 503, retryable: true },

  activation_unknown: { status: 404, retryable: false },
  activation_param_invalid: { status: 400, retryable: false },

  // How it went
  activation_failed: { status: 422, retryable: false },
  attest_outside_activation: { status: 403, retryable: false },
  attest_exhausted: { status: 429, retryable: false },
  attest_message_too_large: { status: 413, retryable: false },
  attest_busy: { status: 503, retryable: true },
  program_crashed: { status: 502, retryable: false },
  program_timeout: { status: 504, retryable: false },
  program_out_of_memory: { status: 502, retryable: false },
  program_output_too_large: { status: 502, retryable: false },
  program_output_invalid: { status: 502, retryable: false },
  program_egress_exceeded: { status: 502, retryable: false },
  program_out_of_cpu: { status: 502, retryable: false },
  program_out_of_pids: { status: 502, retryable: false },
  program_headers_too_large: { status: 502, retryable: false },
  program_resting: { status: 503, retryable: true },
  concurrency_reached: { status: 503, retryable: true },
  provider_busy: { status: 503, retryable: true },
  provider_stopping: { status: 503, retryable: true },
  ledger_unavailable: { status: 503, retryable: true },
  sandbox_unavailable: { status: 503, retryable: true },

  // What a program reaches
  egress_not_allowed: { status: 403, retryable: false },
  egress_address_blocked: { status: 403, retryable: false },
  egress_exhausted: { status: 429, retryable: false },
  egress_busy: { status: 503, retryable: true },
  egress_name_unknown: { status: 502, retryable: true },
  egress_unreachable: { status: 502, retryable: true },
  egress_answer_invalid: { status: 502, retryable: false },
  egress_timeout: { status: 504, retryable: true },

  // Gateway and tunnel
  name_malformed: { status: 400, retryable: false },
  provider_unknown: { status: 404, retryable: false },
  blocked_by_gateway: { status: 451, retryable: false },
  client_blocked: { status: 403, retryable: false },
  name_unknown: { status: 404, retryable: false },
  name_records_invalid: { status: 502, retryable: false },
  domain_unproven: { status: 404, retryable: true },
  dns_unreachable: { status: 503, retryable: true },
  deployment_unserved: { status: 404, retryable: false },
  providers_unavailable: { status: 503, retryable: true },
  provider_offline: { status: 502, retryable: true },
  provider_unreachable: { status: 502, retryable: true },
  provider_address_blocked: { status: 502, retryable: false },
  provider_answer_invalid: { status: 502, retryable: false },
  tunnel_lost: { status: 502, retryable: true },
  tunnel_refused: { status: 403, retryable: false },
  announcement_invalid: { status: 401, retryable: false },
  announcement_replayed: { status: 401, retryable: false },
  ping_invalid: { status: 502, retryable: false },
  did_invalid: { status: 502, retryable: false },
  did_outdated: { status: 409, retryable: true },
  frame_invalid: { status: 502, retryable: true },
  local_service_down: { status: 502, retryable: true },
  call_timeout: { status: 504, retryable: true },
  call_stalled: { status: 504, retryable: true },
  call_in_doubt: { status: 502, retryable: false },
  websocket_unsupported: { status: 501, retryable: false },

  // Swarms
  swarm_invalid: { status: 400, retryable: false },
  swarm_too_large: { status: 503, retryable: true },
  swarm_members_unknown: { status: 422, retryable: false },
  no_consensus: { status: 502, retryable: true },
  swarm_differs: { status: 409, retryable: false },
  ballot_invalid: { status: 400, retryable: false },
  ballot_block_other: { status: 409, retryable: true },
  ballot_not_selected: { status: 403, retryable: false },
  ballot_payment_unsupported: { status: 402, retryable: false },
  ballot_answer_too_large: { status: 502, retryable: false },
  ballot_unknown: { status: 404, retryable: false },
  votes_missing: { status: 403, retryable: false },

  // Keeper
  format_not_supported: { status: 406, retryable: false },
  content_blocked: { status: 410, retryable: false },
  cid_not_cached: { status: 412, retryable: false },
  upload_refused: { status: 403, retryable: false },
  upload_invalid: { status: 400, retryable: false },
  keeper_full: { status: 507, retryable: true },
  keeper_unreachable: { status: 502, retryable: true },

  // Chain and command line
  chain_unreachable: { status: 503, retryable: true },
  chain_disputed: { status: 503, retryable: true },
  transaction_failed: { status: 502, retryable: false },
  balance_too_low: { status: 402, retryable: false },
  name_taken: { status: 409, retryable: false },
  identity_changed: { status: 409, retryable: false },
  key_missing: { status: 400, retryable: false },
  keystore_locked: { status: 403, retryable: false },
  usage_invalid: { status: 400, retryable: false },
  config_invalid: { status: 400, retryable: false },
  fault_refused: { status: 403, retryable: false },
  certificate_unavailable: { status: 503, retryable: true },
  port_taken: { status: 409, retryable: false },
  market_not_running: { status: 503, retryable: true },
  not_confirmed: { status: 400, retryable: false },
  version_unknown: { status: 404, retryable: false },

  internal: { status: 500, retryable: true },
} as const satisfies Record<string, { status: number; retryable: boolean }>

export type ErrorCode = keyof typeof errorTable

export interface ErrorFacts {
  /** What to do next, as a sentence. */
  readonly hint: string
  /** Numbers and names that are safe for strangers; they become members of the problem document. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** A problem document (RFC 9457) with the members that this network adds. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly hint: string
  readonly retryable: boolean
  readonly [detail: string]: unknown
}

export const problemType = 'application/problem+json'

/** An expected refusal: a code for programs, a sentence that says what and how much, a hint that says what now. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly code: ErrorCode
  readonly hint: string
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, { hint, details = {}, cause }: ErrorFacts) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.hint = hint
    this.details = details
  }

  /** The HTTP status that goes with the code. */
  get status(): number {
    return errorTable[this.code].status
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable
  }

  toProblem(): Problem {
    return {
      ...this.details,
      type: `urn:khachapuri:problem:${this.code}`,
      title: this.code.replaceAll('_', ' '),
      status: this.status,
      detail: this.message,
      code: this.code,
      hint: this.hint,
      retryable: this.retryable,
    }
  }
}

/** Compares codes, never classes: two copies of this module may meet in one process. */
export function isProtocolError(error: unknown): error is ProtocolError {
  return error instanceof Error && error.name === 'ProtocolError' && 'code' in error && 'hint' in error
}

/** Turns whatever was thrown into what a stranger may read; the original stays in `cause`, for the log. */
export function toProtocolError(thrown: unknown): ProtocolError {
  if (isProtocolError(thrown)) return thrown
  if (thrown instanceof Error && thrown.name === 'TimeoutError') {
    return new ProtocolError('call_timeout', 'The call took too long.', {
      hint: 'Send it again, or with less work in it.',
      cause: thrown,
    })
  }
  return new ProtocolError('internal', 'Something failed here that should not have.', {
    hint: 'Send it again; if it stays, tell the operator, with the request id.',
    cause: thrown,
  })
}

/** Reads a problem document of another party. @returns undefined where it is none of ours. */
export function parseProblem(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { code, detail, hint } = value as Record<string, unknown>
  if (typeof code !== 'string' || !Object.hasOwn(errorTable, code)) return undefined
  if (typeof detail !== 'string' || typeof hint !== 'string') return undefined
  return value as Problem
}
