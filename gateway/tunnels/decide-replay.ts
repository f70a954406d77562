/** What is known of a request whose socket has gone, or whose stream was refused. */
export interface ReplayFacts {
  /** Whether the head had left this process. */
  readonly isHandedOver: boolean
  /** Whether the provider said that it took the request. */
  readonly isAccepted: boolean
  /** Whether any of the answer has been passed on. */
  readonly isAnswered: boolean
  /** Whether the caller gave an `Idempotency-Key`, so that the provider runs it once however often it comes. */
  readonly isKeyed: boolean
  /** Whether all of the body that was sent is still here. */
  readonly isBodyKept: boolean
  readonly attempts: number
  readonly attemptsMax: number
}

/**
 * - `anywhere`: through any socket of the provider.
 * - `same_process`: only to the process that may have it already. It knows the last stream that it took of every socket
 *   it lost, and refuses what it has had: an `accept` may be lost on its way, so silence alone proves nothing.
 * - `never`.
 */
export type Replay = 'anywhere' | 'same_process' | 'never'

/** Whether a request may be sent again. A paid call must never run twice unless its caller made that safe. */
export function decideReplay(facts: ReplayFacts): Replay {
  if (facts.isAnswered || !facts.isBodyKept || facts.attempts >= facts.attemptsMax) return 'never'
  if (facts.isKeyed || !facts.isHandedOver) return 'anywhere'
  return facts.isAccepted ? 'never' : 'same_process'
}
