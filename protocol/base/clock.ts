/** Time as a parameter: wall time for stamps, monotonic time for durations. */
export interface Clock {
  /** Milliseconds since 1970. */
  nowMs(): number
  /** Milliseconds since some fixed point; never goes back. */
  monotonicMs(): number
  /** Resolves after `durationMs`, or rejects with the reason of `signal`. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>
}

/** The machine's own clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', abort)
        resolve()
      }, durationMs)
      const abort = () => {
        clearTimeout(timer)
        reject(signal.reason)
      }
      signal.addEventListener('abort', abort, { once: true })
    }),
}

/** A clock that stands still until a test moves it. */
export interface TestClock extends Clock {
  /** Moves time and wakes the sleepers whose time has come, in order. */
  advance(durationMs: number): Promise<void>
  /** How many sleepers wait. */
  readonly sleepers: number
}

/** @param startMs - Wall time at the start. */
export function createTestClock(startMs = 1_700_000_000_000): TestClock {
  let elapsedMs = 0
  const waiting = new Set<{ dueMs: number; wake: () => void }>()
  return {
    nowMs: () => startMs + elapsedMs,
    monotonicMs: () => elapsedMs,
    get sleepers() {
      return waiting.size
    },
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted()
        const sleeper = { dueMs: elapsedMs + durationMs, wake: resolve }
        waiting.add(sleeper)
        signal.addEventListener(
          'abort',
          () => {
            if (waiting.delete(sleeper)) reject(signal.reason)
          },
          { once: true },
        )
      }),
    async advance(durationMs) {
      const endMs = elapsedMs + durationMs
      for (;;) {
        const due = [...waiting].filter((s) => s.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs)[0]
        if (!due) break
        elapsedMs = Math.max(elapsedMs, due.dueMs)
        waiting.delete(due)
        due.wake()
        // Let what the sleeper does next run before time moves on.
        await new Promise((resolve) => setImmediate(resolve))
      }
      elapsedMs = endMs
    },
  }
}
