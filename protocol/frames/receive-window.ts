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
 * not the reader, was what held the sender up. Up to 1 MiB it doubles for any reader that is no slower than a window in 100 ms. A
 * stalled reader never makes it grow.
 */
export const createReceiveWindow = (budget: WindowBudget, nowMs: number): ReceiveWindow =>
  new GrowingWindow(budget, nowMs)

/** A class, because there is one for every answer with a body. */
class GrowingWindow implements ReceiveWindow {
  readonly #budget: WindowBudget
  sizeBytes: number = limits.streamWindowBytesMin
  #allowedBytes = this.sizeBytes
  #ungrantedBytes = 0
  #roundBytes = 0
  #roundStartMs: number

  constructor(budget: WindowBudget, nowMs: number) {
    this.#budget = budget
    this.#roundStartMs = nowMs
  }

  receive(bytes: number): boolean {
    this.#allowedBytes -= bytes
    return this.#allowedBytes >= 0
  }

  consume(bytes: number, { nowMs, rttMs }: { nowMs: number; rttMs: number | undefined }): number {
    this.#ungrantedBytes += bytes
    this.#roundBytes += bytes
    // A quarter at a time: rare enough to cost nothing, early enough that the sender need not stop.
    if (this.#ungrantedBytes < this.sizeBytes / 4) return 0
    let creditBytes = this.#ungrantedBytes
    if (this.#roundBytes >= this.sizeBytes) {
      creditBytes += this.#grow(nowMs - this.#roundStartMs, rttMs)
      this.#roundBytes = 0
      this.#roundStartMs = nowMs
    }
    this.#ungrantedBytes = 0
    this.#allowedBytes += creditBytes
    return creditBytes
  }

  close(): void {
    this.#budget.giveBack(this.sizeBytes - limits.streamWindowBytesMin)
    this.sizeBytes = limits.streamWindowBytesMin
  }

  #grow(elapsedMs: number, rttMs: number | undefined): number {
    const isFar = rttMs !== undefined && elapsedMs <= 2 * rttMs
    if (!isFar && !this.#isNear(elapsedMs)) return 0
    const extraBytes = Math.min(this.sizeBytes, limits.streamWindowBytesMax - this.sizeBytes)
    if (extraBytes === 0 || !this.#budget.take(extraBytes)) return 0
    this.sizeBytes += extraBytes
    return extraBytes
  }

  /**
   * Processes that share a core take turns of milliseconds, which no round trip shows: with a window that is empty after half
   * of one, both ends wait for each other.
   */
  #isNear(elapsedMs: number): boolean {
    return elapsedMs <= limits.streamWindowNearMs && this.sizeBytes < limits.streamWindowBytesNear
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
