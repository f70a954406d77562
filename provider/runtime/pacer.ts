/** Holds back what one program sends once it has had its share of a turn of the event loop, so that others have theirs. */
export interface Pacer {
  /** Until the turn is over. */
  readonly isHolding: boolean
  /** So much has come. */
  take(bytes: number): void
}

export interface PacerOptions {
  /** Of all calls of the program together. */
  readonly bytesPerTurnMax: number
  /** Stops reading, and goes on; the second comes once for each of the first. */
  readonly hold: () => void
  readonly letGo: () => void
}

export function createPacer({ bytesPerTurnMax, hold, letGo }: PacerOptions): Pacer {
  let turnBytes = 0
  let isHolding = false

  function endTurn(): void {
    turnBytes = 0
    if (!isHolding) return
    isHolding = false
    letGo()
  }

  return {
    get isHolding() {
      return isHolding
    },
    take(bytes) {
      if (turnBytes === 0) setImmediate(endTurn)
      turnBytes += bytes
      if (isHolding || turnBytes < bytesPerTurnMax) return
      isHolding = true
      hold()
    },
  }
}
