/** Why a stream was broken off. Wire format: add, but never renumber. */
export const resetCodes = {
  /** Whoever waited has gone, or the handler gave up. */
  cancelled: 1,
  /** The provider did not take the request; it may be sent elsewhere. */
  refused: 2,
  /** The provider took this request before, on a tunnel that was lost since. */
  already_taken: 3,
  head_invalid: 4,
  /** More data than there was credit for, or in the wrong place. */
  flow_broken: 5,
  /** Too many bytes wait for slow readers. */
  overloaded: 6,
  /** The gateway will wait no longer; its caller would have. */
  timed_out: 7,
  /** What came cannot be passed on as an answer; its caller had no part in that. */
  answer_invalid: 8,
  /** The other connection, by which it went on, has gone. */
  lane_lost: 9,
} as const

export type ResetReason = keyof typeof resetCodes

const reasons = new Map(
  Object.entries(resetCodes).map(([reason, code]) => [code as number, reason as ResetReason]),
)

/** A code of a later version counts as `cancelled`. */
export function toResetReason(code: number | undefined): ResetReason {
  return reasons.get(code ?? 0) ?? 'cancelled'
}
