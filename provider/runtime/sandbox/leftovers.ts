import { lstatSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { tryRead } from './files.ts'

/**
 * Folders in a folder whose names begin with `prefix` and the id of a process that no longer runs: what a provider that was
 * killed could not take away itself. Anybody may make such a name in `/tmp`, and then put links below it while it is
 * taken away, so only this user's own count.
 */
export async function findLeftovers(folder: string, prefix: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => {
    const pid = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined
    return pid !== undefined && !isRunning(pid) && isOwnFolder(join(folder, name))
  })
}

function isOwnFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found?.isDirectory() === true && found.uid === (process.getuid?.() ?? found.uid)
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
