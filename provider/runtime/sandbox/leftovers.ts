import { readdir } from 'node:fs/promises'
import { tryRead } from './files.ts'

/**
 * Names in a folder that begin with `prefix` and the id of a process that no longer runs: what a provider that was
 * killed could not take away itself.
 */
export async function findLeftovers(folder: string, prefix: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => {
    const pid = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined
    return pid !== undefined && !isRunning(pid)
  })
}

function isRunning(pid: string): boolean {
  if (tryRead('/proc/self/stat') !== undefined) return tryRead(`/proc/${pid}/stat`) !== undefined
  try {
    process.kill(Number(pid), 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
