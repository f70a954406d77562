import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, copyFile, link, realpath, stat } from 'node:fs/promises'
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
  if (await isOpenToAll(real)) return { path: real, libraries }
  const copy = join(folder, basename(real))
  await link(real, copy).catch(() => copyFile(real, copy, constants.COPYFILE_FICLONE))
  return { path: copy, libraries }
}

/** Looks a command up as a shell does. */
export async function findCommand(name: string): Promise<string | undefined> {
  const folders = (process.env['PATH'] ?? '/usr/bin:/bin').split(delimiter)
  for (const folder of folders) {
    const path = join(folder, name)
    const isFound = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isFound) return path
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

async function isOpenToAll(path: string): Promise<boolean> {
  const executableByAll = 0o001
  if (((await stat(path)).mode & 0o005) !== 0o005) return false
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (((await stat(folder)).mode & executableByAll) === 0) return false
    if (folder === dirname(folder)) return true
  }
}
