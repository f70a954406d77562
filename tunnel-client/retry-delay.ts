import { backoffDelayMs } from '../protocol/base/backoff.ts'
import type { ErrorCode } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'

export interface LineTrouble {
  /** In a row, of this line. */
  readonly failures: number
  /** Since the line was last up. */
  readonly failingMs: number
  readonly code: ErrorCode
}

/**
 * How long to wait before the next dial: 10 ms, doubling, up to 60 s. Where a gateway merely cannot be reached, and not for
 * long, it is restarting: then at most 2 s, so that tunnels stand again within 3 s of its return. One that answers and
 * says no is not pressed.
 *
 * @param random - Uniform in [0, 1).
 */
export function retryDelayMs({ failures, failingMs, code }: LineTrouble, random: () => number): number {
  const isRestarting = code === 'tunnel_lost' && failingMs < limits.tunnelRestartMsMax
  return backoffDelayMs(failures, {
    delayMsMin: limits.tunnelDelayMsMin,
    delayMsMax: isRestarting ? limits.tunnelRestartDelayMsMax : limits.tunnelDelayMsMax,
    random,
  })
}

/**
 * Whether a connection stood for so long that its line starts over with the shortest wait: ten times as long as it had been
 * waited for, at least 250 ms, and 5 s in any case. A line that is cut now and then is back at once, however often; a gateway
 * that takes connections and drops them is dialled four times a second at most.
 */
export function hasStood({ upMs, waitedMs }: { upMs: number; waitedMs: number }): boolean {
  const longMs = Math.max(limits.tunnelUptimeMsMin, limits.tunnelUptimePerWait * waitedMs)
  return upMs >= Math.min(limits.tunnelUptimeToResetMs, longMs)
}
