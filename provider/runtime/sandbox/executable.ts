import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, chmod, copyFile, link, realpath, stat } from 'node:fs/promises'
import { basename, delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A file that can be started in a sandbox, with everything that it loads. */
export interface Executable {
  /** A path that any user of this machine can start it by. */
  readonly path: string
  /** Its dynamic loader and libraries, absolute. */
  readonly libraries: readonly string[]
}

/**
 * Makes a binary startable by users who may not enter the folder that it is in, such as somebody's home: there it
 * is linked or copied to `folder`, which must be open to all.
 */
export async function prepareExecutable(
  path: string,
  { folder }: { folder: string },
  signal: AbortSignal,
): Promise<Executable> {
  const real = await realpath(path)
  const libraries = await readLibraries(real, signal)
  const isFileOpen = await isAllowed(real, 0o005)
  if (isFileOpen && (await isWayOpen(real))) return { path: real, libraries }

  const copy = join(folder, basename(real))
  const isLinked = isFileOpen && (await succeeds(link(real, copy)))
  if (!isLinked) {
    await copyFile(real, copy, constants.COPYFILE_FICLONE)
    await chmod(copy, 0o755)
  }
  return { path: copy, libraries }
}

/** Looks a command up as a shell does. @param searchPath - Folders, as in `PATH`. */
export async function findCommand(
  name: string,
  searchPath = process.env['PATH'] ?? '/usr/bin:/bin',
): Promise<string | undefined> {
  for (const folder of searchPath.split(delimiter)) {
    const path = join(folder, name)
    if (await succeeds(access(path, constants.X_OK))) return path
  }
  return undefined
}

/** Asks the dynamic loader itself, as `ldd` does, so that it holds on every distribution and architecture. */
async function readLibraries(path: string, signal: AbortSignal): Promise<string[]> {
  if (process.platform !== 'linux') return []
  const { stdout } = await run(path, [], { env: { LD_TRACE_LOADED_OBJECTS: '1' }, signal })
  // "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)".
  return [...stdout.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map((match) => match[1]!)
}

/** Whether every folder on the way may be entered by everybody. */
async function isWayOpen(path: string): Promise<boolean> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (!(await isAllowed(folder, 0o001))) return false
    if (folder === dirname(folder)) return true
  }
}

async function isAllowed(path: string, bits: number): Promise<boolean> {
  return ((await stat(path)).mode & bits) === bits
}

function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
