import { open, readFile, rm } from 'node:fs/promises'
import type { Clock } from '../protocol/base/clock.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'

/**
 * Takes a lock that is a file: only one process can make it. One that its process left behind is taken away.
 *
 * @throws ProtocolError `config_invalid` where another command has it for too long
 */
export async function takeLock(
  path: string,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<AsyncDisposable> {
  const sinceMs = clock.monotonicMs()
  for (;;) {
    try {
      await using file = await open(path, 'wx', 0o600)
      await file.writeFile(`${process.pid}`)
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    if (await isLeftBehind(path)) await rm(path, { force: true })
    else if (clock.monotonicMs() - sinceMs < limits.stateLockWaitMs)
      await clock.sleep(limits.stateLockPollMs, signal)
    else {
      throw new ProtocolError('config_invalid', `${path} is held by another command.`, {
        hint: 'Remove it if no other khachapuri command runs.',
      })
    }
  }
}

async function isLeftBehind(path: string): Promise<boolean> {
  const pid = Number(await readFile(path, 'utf8').catch(() => ''))
  // Not written yet, or gone again.
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
