import { limits } from '../limits.ts'

/** What all windows of one connection may grow to together. */
export interface WindowBudget {
  /** @returns whether so many bytes were left; they are taken then. */
  take(bytes: number): boolean
  giveBack(bytes: number): void
}

/** What a receiver allows its peer to send on one stream, and when it allows more. */
export interface ReceiveWindow {
  /** @returns false where the peer sends more than it was allowed. */
  receive(bytes: number): boolean
  /**
   * The reader took so many bytes.
   *
   * @param rttMs - Of the connection, where it is known.
   * @returns the credit to grant now; 0 where it does not pay yet.
   */
  consume(bytes: number, facts: { nowMs: number; rttMs: number | undefined }): number
  readonly sizeBytes: number
  /** Returns what it took from the budget. */
  close(): void
}

/**
 * Starts at 256 KiB and doubles whenever its reader took a whole window within two round trips: then the window, and
 * not the reader, was what held the sender up. A stalled reader never makes it grow.
 */
export function createReceiveWindow(budget: WindowBudget, nowMs: number): ReceiveWindow {
  let sizeBytes: number = limits.streamWindowBytesMin
  let allowedBytes = sizeBytes
  let ungrantedBytes = 0
  let roundBytes = 0
  let roundStartMs = nowMs

  const grow = (elapsedMs: number, rttMs: number | undefined): number => {
    if (rttMs === undefined || elapsedMs > 2 * rttMs) return 0
    const extraBytes = Math.min(sizeBytes, limits.streamWindowBytesMax - sizeBytes)
    if (extraBytes === 0 || !budget.take(extraBytes)) return 0
    sizeBytes += extraBytes
    return extraBytes
  }

  return {
    get sizeBytes() {
      return sizeBytes
    },
    receive(bytes) {
      allowedBytes -= bytes
      return allowedBytes >= 0
    },
    consume(bytes, { nowMs: now, rttMs }) {
      ungrantedBytes += bytes
      roundBytes += bytes
      // A quarter at a time: rare enough to cost nothing, early enough that the sender need not stop.
      if (ungrantedBytes < sizeBytes / 4) return 0
      let creditBytes = ungrantedBytes
      if (roundBytes >= sizeBytes) {
        creditBytes += grow(now - roundStartMs, rttMs)
        roundBytes = 0
        roundStartMs = now
      }
      ungrantedBytes = 0
      allowedBytes += creditBytes
      return creditBytes
    },
    close() {
      budget.giveBack(sizeBytes - limits.streamWindowBytesMin)
      sizeBytes = limits.streamWindowBytesMin
    },
  }
}

export const createWindowBudget = (bytesMax: number): WindowBudget => new Budget(bytesMax)

class Budget implements WindowBudget {
  #leftBytes: number

  constructor(bytesMax: number) {
    this.#leftBytes = bytesMax
  }

  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) return false
    this.#leftBytes -= bytes
    return true
  }

  giveBack(bytes: number): void {
    this.#leftBytes += bytes
  }
}
