import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { assert } from '../../../protocol/base/assert.ts'
import type { ProgramFiles } from '../runtime.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'

/** A program's files on disk, for the one user that its processes run as. */
export interface AppFolder extends AsyncDisposable {
  readonly path: string
  readonly user: number | undefined
}

/** Writes a program's files where only its own user can read them. In its sandbox nobody can write there. */
export async function createAppFolder(
  sandbox: Pick<Sandbox, 'createFolder' | 'nextUser'>,
  { files, entry }: ProgramFiles,
  signal: AbortSignal,
): Promise<AppFolder> {
  await using starting = new AsyncDisposableStack()
  const user = sandbox.nextUser()
  const outer = await sandbox.createFolder()
  starting.defer(() => rm(outer, { recursive: true, force: true }))
  const root = join(outer, 'app')
  const folders = new Set([root])
  await mkdir(root)
  for (const { path, bytes, executable } of files) {
    signal.throwIfAborted()
    const at = join(root, path)
    assert(!relative(root, at).startsWith('..') && at !== root, 'the paths of a program stay inside of it')
    await mkdir(dirname(at), { recursive: true })
    for (let folder = dirname(at); folder !== root; folder = dirname(folder)) folders.add(folder)
    // A file that is there already would be a second one of this name: `wx` refuses to write through anything.
    await writeFile(at, bytes, { flag: 'wx', mode: 0o400 })
    if (executable || path === entry) await chmod(at, 0o500)
    if (user !== undefined) await chown(at, user, user)
  }
  for (const folder of [...folders].sort((a, b) => b.split(sep).length - a.split(sep).length)) {
    if (user !== undefined) await chown(folder, user, user)
    // Without a user of their own they are this process's, which must be able to take them away again.
    await chmod(folder, user === undefined ? 0o700 : 0o500)
  }
  const parts = starting.move()
  return { path: root, user, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
