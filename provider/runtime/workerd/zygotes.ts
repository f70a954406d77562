import type { Log } from '../../../protocol/base/log.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { Executable } from '../sandbox/executable.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'
import { sockets } from './config.ts'

/** Processes of workerd that were started in advance and wait for a program. Each gets one, and never another. */
export interface Zygotes extends AsyncDisposable {
  /** A waiting process, else a new one. */
  take(signal: AbortSignal): Promise<Cell>
  /** Replaces in the background what was taken; call it when the taker no longer needs the processor. */
  refill(): void
}

/** @param options.count - How many wait. */
export function createZygotes(
  { sandbox, log }: { sandbox: Sandbox; log: Log },
  { executable, count }: { executable: Executable; count: number },
): Zygotes {
  const stopping = new AbortController()
  const waiting: Cell[] = []
  let filling: Promise<void> | undefined

  const spawn = (signal: AbortSignal) =>
    sandbox.spawn({ executable, args: (folder) => formatWorkerdArgs(folder) }, signal)

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
    void cell[Symbol.asyncDispose]()
    log.warn('zygote_lost')
  }

  return {
    async take(signal) {
      return waiting.shift() ?? (await spawn(signal))
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

/** Names of the sockets in the folder that a program shares with its provider. */
export const socketNames = { main: 's', ping: 'p' } as const

/** workerd that reads its configuration from standard input, and therefore waits until that ends. */
function formatWorkerdArgs(folder: string): string[] {
  return [
    ...['serve', '--binary', '-'],
    ...['--socket-addr', `${sockets.main}=unix:${folder}/${socketNames.main}`],
    ...['--socket-addr', `${sockets.ping}=unix:${folder}/${socketNames.ping}`],
    ...['--control-fd', '3'],
  ]
}
