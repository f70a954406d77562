import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'

/** What is wrong with the money that is still out: too much of it, or for too long. */
export type UnsettledAlarm = 'value' | 'age'

export interface UnsettledStatus {
  /** Charged and not yet seen as paid. */
  readonly unsettledUsdc: Usdc
  /** Since when some of it is owed at the longest, in milliseconds since 1970; undefined where nothing is. */
  readonly unsettledSinceMs: number | undefined
  readonly alarms: readonly UnsettledAlarm[]
}

/** Says so, once each time, when the value or the age of what is owed passes a limit, and when it is below again. */
export interface UnsettledWatch {
  charged(amountUsdc: Usdc): void
  /** A settlement takes all that was charged until now. */
  settlementBegan(): void
  settlementEnded(): void
  look(): void
  status(): UnsettledStatus
}

export interface UnsettledLimits {
  readonly alarmUsdc: Usdc | undefined
  readonly alarmAgeMs: number
}

export function createUnsettledWatch(
  { clock, log, readUnsettled }: { clock: Clock; log: Log; readUnsettled: () => Usdc },
  { alarmUsdc, alarmAgeMs }: UnsettledLimits,
): UnsettledWatch {
  const raised = new Set<UnsettledAlarm>()
  let sinceMs = readUnsettled() > zeroUsdc ? clock.nowMs() : undefined
  /** Since when something is owed that the settlement under way will leave. */
  let leftSinceMs: number | undefined
  /** As far as it is known without asking, so that a charge costs nothing. */
  let roughUsdc: bigint = readUnsettled()

  function findAlarms({
    unsettledUsdc,
    unsettledSinceMs,
  }: Omit<UnsettledStatus, 'alarms'>): UnsettledAlarm[] {
    const isMuch = alarmUsdc !== undefined && unsettledUsdc >= alarmUsdc
    const isOld = unsettledSinceMs !== undefined && clock.nowMs() - unsettledSinceMs >= alarmAgeMs
    return [...(isMuch ? ['value' as const] : []), ...(isOld ? ['age' as const] : [])]
  }

  function status(): UnsettledStatus {
    const unsettledUsdc = readUnsettled()
    const unsettledSinceMs = unsettledUsdc > zeroUsdc ? sinceMs : undefined
    return { unsettledUsdc, unsettledSinceMs, alarms: findAlarms({ unsettledUsdc, unsettledSinceMs }) }
  }

  function look(): void {
    const { alarms, unsettledUsdc, unsettledSinceMs } = status()
    roughUsdc = unsettledUsdc
    const facts = {
      unsettled: formatUsdc(unsettledUsdc),
      ...(unsettledSinceMs !== undefined && { ageMs: clock.nowMs() - unsettledSinceMs }),
    }
    for (const alarm of ['value', 'age'] as const) {
      if (alarms.includes(alarm) === raised.has(alarm)) continue
      if (raised.delete(alarm)) log.info('unsettled_alarm_ended', { alarm, ...facts })
      else {
        raised.add(alarm)
        log.warn('unsettled_alarm', { alarm, ...facts })
      }
    }
  }

  return {
    charged(amountUsdc) {
      sinceMs ??= clock.nowMs()
      leftSinceMs ??= clock.nowMs()
      roughUsdc += amountUsdc
      if (alarmUsdc !== undefined && roughUsdc >= alarmUsdc && !raised.has('value')) look()
    },
    settlementBegan() {
      leftSinceMs = undefined
    },
    settlementEnded() {
      sinceMs = leftSinceMs
      look()
    },
    look,
    status,
  }
}
