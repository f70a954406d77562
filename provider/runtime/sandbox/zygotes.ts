import type { Log } from '../../../protocol/base/log.ts'
import type { Cell } from './cell.ts'

/** Processes in their sandboxes that were started in advance and wait. Each is used once. */
export interface Zygotes extends AsyncDisposable {
  /** A waiting process, else a new one. */
  take(signal: AbortSignal): Promise<Cell>
  /** Replaces in the background what was taken; call it when the taker no longer needs the processor. */
  refill(): void
}

/** @param options.count - How many wait. */
export function createZygotes(
  { spawn, log }: { spawn: (signal: AbortSignal) => Promise<Cell>; log: Log },
  { count }: { count: number },
): Zygotes {
  const stopping = new AbortController()
  const waiting: Cell[] = []
  let filling: Promise<void> | undefined

  async function fill(): Promise<void> {
    while (waiting.length < count && !stopping.signal.aborted) {
      const cell = await spawn(stopping.signal)
      waiting.push(cell)
      void cell.exited.then(() => drop(cell))
    }
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
    refill() {
      filling ??= fill()
        .catch((error) => {
          if (!stopping.signal.aborted) log.warn('zygote_failed', { error: String(error?.cause ?? error) })
        })
        .finally(() => {
          filling = undefined
        })
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(new Error('The runtime is shutting down.'))
      await filling
      await Promise.all(waiting.splice(0).map((cell) => cell[Symbol.asyncDispose]()))
    },
  }
}
