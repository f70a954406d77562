import { execFile } from 'node:child_process'
import { access, chmod, cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** A program in Go that is built from its module, once for all runs. */
export interface GoPeer {
  readonly module: string
  readonly version: string
  /** Folders of its commands within the module. */
  readonly commands: readonly string[]
}

const folder = join(import.meta.dirname, '..', '..', '.khachapuri', 'bench-peers')
const run = promisify(execFile)

/**
 * Builds the commands of a module as its own `go.mod` pins them.
 *
 * @returns where they are, by name; or why there are none, in words
 */
export async function buildGoPeer(
  { module, version, commands }: GoPeer,
  signal: AbortSignal,
): Promise<{ readonly path: string } | { readonly skipped: string }> {
  const name = module.slice(module.lastIndexOf('/') + 1)
  const path = join(folder, `${name}-${version}`)
  const names = commands.map((command) =>
    command === '.' ? name : command.slice(command.lastIndexOf('/') + 1),
  )
  const isBuilt = await Promise.all(names.map((one) => access(join(path, one)))).then(
    () => true,
    () => false,
  )
  if (isBuilt) return { path }
  const env = { ...process.env, GOPATH: join(folder, 'go'), GOFLAGS: '-modcacherw' }
  try {
    await mkdir(path, { recursive: true })
    const { stdout } = await run('go', ['mod', 'download', '-json', `${module}@${version}`], {
      cwd: path,
      env,
      signal,
    })
    const source = join(path, 'source')
    await cp((JSON.parse(stdout) as { Dir: string }).Dir, source, { recursive: true })
    await makeWritable(source)
    for (const [index, command] of commands.entries()) {
      const args = ['build', '-o', join(path, names[index] as string), `./${command}`]
      await run('go', args, { cwd: source, env, signal, maxBuffer: 2 ** 24 })
    }
    return { path }
  } catch (error) {
    signal.throwIfAborted()
    const isGoMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const why = isGoMissing ? 'go is not installed here' : 'its module cannot be had or built here'
    return { skipped: `${name} ${version}: ${why}` }
  }
}

/** The module cache gives read-only files. */
async function makeWritable(dir: string): Promise<void> {
  await chmod(dir, 0o755)
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(dir, entry.name))
  }
}
