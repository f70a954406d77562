import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import type { Cell } from './cell.ts'

/** Processes in their sandboxes that were started in advance and wait. Each is used once. */
export interface Zygotes extends AsyncDisposable {
  /** A waiting process, else a new one. */
  take(signal: AbortSignal): Promise<Cell>
  /**
   * Replaces in the background what was taken.
   *
   * @param restMs - How long the taker has the processor for itself: starting a process holds up whoever starts it for
   * milliseconds, and keeps a core busy for as long as a program needs to its first answer.
   */
  refill(restMs?: number): void
}

/** @param options.count - How many wait. */
export function createZygotes(
  { spawn, clock, log }: { spawn: (signal: AbortSignal) => Promise<Cell>; clock: Clock; log: Log },
  { count }: { count: number },
): Zygotes {
  const stopping = new AbortController()
  const waiting: Cell[] = []
  let askedRestMs: number | undefined
  let isFilling = false
  let filling = Promise.resolve()

  /** Until nobody has asked for more meanwhile. */
  async function fill(): Promise<void> {
    try {
      while (askedRestMs !== undefined) {
        const restMs = askedRestMs
        askedRestMs = undefined
        if (restMs > 0) await clock.sleep(restMs, stopping.signal)
        while (isShort()) await addOne()
      }
    } catch (error) {
      if (!stopping.signal.aborted) log.warn('zygote_failed', { error: describe(error) })
    } finally {
      isFilling = false
    }
  }

  /** Whoever has taken one meanwhile has its rest, too; but not while so few wait that those who come next would find none. */
  function isShort(): boolean {
    if (stopping.signal.aborted || waiting.length >= count) return false
    return askedRestMs === undefined || waiting.length < count / 2
  }

  async function addOne(): Promise<void> {
    const cell = await spawn(stopping.signal)
    waiting.push(cell)
    void cell.exited.then(() => drop(cell))
  }

  /** A zygote that ended while it waited is nobody's. */
  function drop(cell: Cell): void {
    const index = waiting.indexOf(cell)
    if (index < 0) return
    waiting.splice(index, 1)
    lose(cell)
  }

  function lose(cell: Cell): void {
    void cell[Symbol.asyncDispose]()
    log.warn('zygote_lost')
  }

  return {
    async take(signal) {
      for (let cell = waiting.shift(); cell; cell = waiting.shift()) {
        // No program should be blamed for that.
        if (cell.hasFolder) return cell
        lose(cell)
      }
      return spawn(signal)
    },
    refill(restMs = 0) {
      askedRestMs = Math.max(askedRestMs ?? 0, restMs)
      if (isFilling) return
      isFilling = true
      filling = fill()
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('The runtime is shutting down.'))
      await filling
      await Promise.all(waiting.splice(0).map((cell) => cell[Symbol.asyncDispose]()))
    },
  }
}

const describe = (error: unknown) => String((error instanceof Error && error.cause) || error)
