import type { Clock } from '../../protocol/base/clock.ts'

/** Looks at everything that runs, at one interval for all: no call has a timer of its own. */
export interface Watchdog extends Disposable {
  /** Asks `check` at every tick as long as it says that there is something to watch; `wake` begins that. */
  watch(check: () => boolean): Watch
}

export interface Watch extends Disposable {
  /** Costs nothing while it is awake already. */
  wake(): void
  /** Whether nothing else is awake. */
  readonly isAlone: boolean
}

/** A watchdog that sleeps where there is nothing to watch. */
export function createWatchdog(
  { clock }: { clock: Clock },
  { intervalMs }: { intervalMs: number },
): Watchdog {
  const stopping = new AbortController()
  const awake = new Set<() => boolean>()
  let isRunning = false

  async function run(): Promise<void> {
    isRunning = true
    while (awake.size > 0 && !stopping.signal.aborted) {
      await clock.sleep(intervalMs, stopping.signal).catch(() => undefined)
      for (const check of awake) if (!check()) awake.delete(check)
    }
    isRunning = false
  }

  return {
    watch: (check) => ({
      wake() {
        if (awake.has(check)) return
        awake.add(check)
        if (!isRunning) void run()
      },
      get isAlone() {
        return awake.size === (awake.has(check) ? 1 : 0)
      },
      [Symbol.dispose]: () => void awake.delete(check),
    }),
    [Symbol.dispose]() {
      awake.clear()
      stopping.abort()
    },
  }
}
