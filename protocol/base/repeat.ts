import type { Clock } from './clock.ts'

/**
 * Runs `task` again and again, `intervalMs` after it has ended, until disposed. A failure goes to `onError` and does not
 * end the loop. Disposal waits for a run that is under way, whose signal is aborted.
 */
export function repeat(
  { clock, onError }: { clock: Clock; onError: (error: unknown) => void },
  intervalMs: number,
  task: (signal: AbortSignal) => Promise<unknown>,
): AsyncDisposable {
  const stop = new AbortController()
  const loop = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await clock.sleep(intervalMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) return
      await task(stop.signal).catch((error) => {
        if (!stop.signal.aborted) onError(error)
      })
    }
  }
  const running = loop()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new DOMException('The loop was stopped.', 'AbortError'))
      await running
    },
  }
}
