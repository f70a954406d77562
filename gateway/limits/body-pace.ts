import { type BagItem, createBag, inNoBag } from '../../protocol/base/bag.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'

/** A body on its way in; Node's requests are some. */
export interface PacedBody {
  /** Whether somebody reads it now. */
  readonly readableFlowing: boolean | null
  readonly socket: {
    /** Of its connection or stream so far. */
    readonly bytesRead?: number
  }
}

/**
 * Finds callers that keep a request, and with it a connection to its provider, with a byte now and then. Only the time counts
 * in which the body is read: where the provider is the slow one, nobody is blamed.
 */
export interface BodyPace {
  /**
   * @param onSlow - Called once, where a whole window brought less than the rate; it is not watched any more then.
   * @returns what to call when it needs no watching any more
   */
  watch(body: PacedBody, bytesPerSecondMin: number, onSlow: () => void): () => void
  /** To be called about once a second. */
  sweep(): void
}

interface Watched extends BagItem {
  readonly body: PacedBody
  readonly bytesMin: number
  readonly onSlow: () => void
  windowStartMs: number
  bytesAtStart: number
}

export function createBodyPace({ clock }: { readonly clock: Pick<Clock, 'monotonicMs'> }): BodyPace {
  const watched = createBag<Watched>()

  function begin(entry: Watched): void {
    entry.windowStartMs = clock.monotonicMs()
    entry.bytesAtStart = bytesOf(entry.body)
  }

  return {
    watch(body, bytesPerSecondMin, onSlow) {
      const bytesMin = (bytesPerSecondMin * limits.bodyPaceWindowMs) / 1000
      const entry: Watched = { body, bytesMin, onSlow, windowStartMs: 0, bytesAtStart: 0, bagIndex: inNoBag }
      begin(entry)
      watched.add(entry)
      return () => void watched.delete(entry)
    },
    sweep() {
      const nowMs = clock.monotonicMs()
      for (const entry of watched.items()) {
        if (entry.body.readableFlowing !== true) begin(entry)
        else if (nowMs - entry.windowStartMs < limits.bodyPaceWindowMs) continue
        else if (bytesOf(entry.body) - entry.bytesAtStart >= entry.bytesMin) begin(entry)
        else {
          watched.delete(entry)
          entry.onSlow()
        }
      }
    },
  }
}

const bytesOf = ({ socket }: PacedBody): number => socket.bytesRead ?? 0

export function bodyTooSlow(): ProtocolError {
  const seconds = limits.bodyPaceWindowMs / 1000
  return new ProtocolError('body_too_slow', `Too little of the body came within ${seconds} s.`, {
    hint: 'Send it without long pauses, or over a better line.',
  })
}
