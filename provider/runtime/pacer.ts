/**
 * Holds back what one program sends once it has had its share, so that others have theirs: until the turn of the event loop is
 * over, or for a rest where others have calls.
 */
export interface Pacer {
  readonly isHolding: boolean
  /** So much has come. */
  take(bytes: number): void
}

export interface PacerOptions {
  /** Of all calls of the program together. */
  readonly shareBytes: number
  /** Asked after each share. @returns undefined where nobody waits; what it gives is waited for, however it settles */
  readonly rest: () => Promise<unknown> | undefined
  /** Stops reading, and goes on; the second comes once for each of the first. */
  readonly hold: () => void
  readonly letGo: () => void
}

export function createPacer({ shareBytes, rest, hold, letGo }: PacerOptions): Pacer {
  let turnBytes = 0
  let unrestedBytes = 0
  let isHolding = false
  let isResting = false

  function endTurn(): void {
    turnBytes = 0
    if (isHolding && !isResting) goOn()
  }

  function goOn(): void {
    isHolding = false
    isResting = false
    unrestedBytes = 0
    letGo()
  }

  return {
    get isHolding() {
      return isHolding
    },
    take(bytes) {
      if (turnBytes === 0) setImmediate(endTurn)
      turnBytes += bytes
      unrestedBytes += bytes
      if (isHolding || unrestedBytes < shareBytes) return
      const resting = rest()
      if (!resting && turnBytes < shareBytes) return
      isHolding = true
      isResting = resting !== undefined
      hold()
      resting?.then(goOn, goOn)
    },
  }
}
