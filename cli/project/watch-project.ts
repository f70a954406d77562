import { watch } from 'node:fs'
import type { Clock } from '../../protocol/base/clock.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { noProgram } from './packed-program.ts'

/** What changes without being the program's: results, packages, histories. */
const ignored = new Set(['.git', '.hg', '.svn', '.khachapuri', 'node_modules', 'dist'])

/** A directory that is watched, with all below it. */
export interface ProjectWatch extends Disposable {
  /**
   * Resolves when something has changed since the last time and nothing changes any more: editors write a file in several steps.
   *
   * @throws ProtocolError `config_invalid` where the system cannot watch so much; the reason of `signal`
   */
  changed(signal: AbortSignal): Promise<void>
}

/** @throws ProtocolError `config_invalid`, `program_invalid` where there is nothing to watch */
export function watchProject(dir: string, { clock }: { readonly clock: Clock }): ProjectWatch {
  let next = Promise.withResolvers<void>()
  const fail = (cause: unknown) =>
    new ProtocolError(
      'config_invalid',
      `${dir} cannot be watched: ${(cause as NodeJS.ErrnoException).code ?? cause}.`,
      {
        hint: 'See fs.inotify.max_user_watches, or build and run again by hand with "khachapuri run".',
        cause,
      },
    )
  const start = () => {
    try {
      const options = {
        recursive: true,
        ignore: (path: string) => path.split(/[/\\]/).some((name) => ignored.has(name)),
      }
      return watch(dir, options, () => next.resolve())
    } catch (cause) {
      throw (cause as NodeJS.ErrnoException).code === 'ENOENT' ? noProgram(dir) : fail(cause)
    }
  }
  const watcher = start()
  watcher.on('error', (cause) => {
    next.promise.catch(() => undefined)
    next.reject(fail(cause))
  })
  return {
    async changed(signal) {
      await raceSignal(next.promise, signal)
      const untilMs = clock.monotonicMs() + limits.devSettleMsMax
      let isQuiet = false
      while (!isQuiet && clock.monotonicMs() < untilMs) {
        next = Promise.withResolvers()
        const quiet = clock.sleep(limits.devQuietMs, signal).then(() => true)
        isQuiet = await Promise.race([quiet, next.promise.then(() => false)])
        quiet.catch(() => undefined)
      }
    },
    [Symbol.dispose]: () => watcher.close(),
  }
}
