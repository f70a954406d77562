import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, release, totalmem, type } from 'node:os'
import { promisify } from 'node:util'

/** Where and with what was measured, in two lines. */
export async function describeMachine(signal: AbortSignal): Promise<readonly string[]> {
  const [cpu] = cpus()
  const memoryGiB = Math.round(totalmem() / 2 ** 30)
  const [load = 0] = loadavg()
  const versions = ['workerd', 'hono', '@hono/node-server', 'autocannon', 'hardhat', 'solc', 'ws'].map(
    (name) => `${name} ${versionOf(name)}`,
  )
  return [
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown processor'}, ${memoryGiB} GiB, ${type()} ${release()}; load when it began: ${load.toFixed(1)}.`,
    `Commit ${await readCommit(signal)}, Node ${process.versions.node}, SQLite ${process.versions['sqlite'] ?? '?'}, ${versions.join(', ')}.`,
  ]
}

/** Not every package lets its manifest be imported, so it is read beside what can be resolved. */
function versionOf(name: string): string {
  const require = createRequire(import.meta.url)
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return (JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')) as { version: string })
        .version
    } catch {
      // Not in this folder.
    }
  }
  return '?'
}

async function readCommit(signal: AbortSignal): Promise<string> {
  try {
    const options = { cwd: import.meta.dirname, signal }
    const { stdout } = await promisify(execFile)('git', ['describe', '--always', '--dirty'], options)
    return stdout.trim()
  } catch {
    signal.throwIfAborted()
    return 'unknown'
  }
}
