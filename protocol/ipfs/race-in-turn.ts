import type { Clock } from '../base/clock.ts'

/** What everything that was tried threw, in the order of the attempts. */
export class AllAttemptsFailed extends Error {
  override readonly name = 'AllAttemptsFailed'
  readonly failures: readonly unknown[]

  constructor(failures: readonly unknown[]) {
    super(`All of ${failures.length} attempts failed.`)
    this.failures = failures
  }
}

/**
 * Starts the first attempt, and the next one as soon as one fails or `delayMs` have passed. The first to succeed wins;
 * the others are told to stop, and have stopped when this settles.
 *
 * @throws AllAttemptsFailed; the reason of `signal`
 */
export async function raceInTurn<T>(
  attempts: readonly ((signal: AbortSignal) => Promise<T>)[],
  { clock, delayMs }: { clock: Clock; delayMs: number },
  signal: AbortSignal,
): Promise<T> {
  signal.throwIfAborted()
  const over = new AbortController()
  const running: Promise<unknown>[] = []
  const stop = AbortSignal.any([signal, over.signal])
  try {
    return await new Promise<T>((resolve, reject) => {
      const failures: unknown[] = []
      let failed = 0
      const startNext = () => {
        const index = running.length
        const attempt = attempts[index]
        if (!attempt) return
        const fail = (error: unknown) => {
          failures[index] = error
          failed += 1
          if (stop.aborted || failed === attempts.length) reject(new AllAttemptsFailed(failures))
          else startNext()
        }
        running.push(attempt(stop).then(resolve, fail))
        // A failure may have started the next one by then.
        const startIfLast = () => (running.length === index + 1 ? startNext() : undefined)
        clock.sleep(delayMs, stop).then(startIfLast, () => undefined)
      }
      if (attempts.length === 0) reject(new AllAttemptsFailed([]))
      startNext()
    })
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    over.abort(new Error('Another attempt succeeded.'))
    await Promise.all(running)
  }
}
