import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, loadavg, release, totalmem, type } from 'node:os'
import { promisify } from 'node:util'
import { findOnPath } from './peers.ts'

/** Where and with what was measured, in three lines. */
export async function describeMachine(signal: AbortSignal): Promise<readonly string[]> {
  const [cpu] = cpus()
  const memoryGiB = Math.round(totalmem() / 2 ** 30)
  const [load = 0] = loadavg()
  const versions = ['workerd', 'hono', '@hono/node-server', 'autocannon', 'hardhat', 'solc', 'ws'].map(
    (name) => `${name} ${versionOf(name)}`,
  )
  return [
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown processor'}, ${memoryGiB} GiB, ${type()} ${release()}; load when it began: ${load.toFixed(1)}.`,
    `Of the system: ${(await readSystemVersions(signal)).join(', ')}.`,
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

/** Programs that measurements start where they are installed, and how they tell their version; wrk has none but this. */
const systemPrograms: readonly (readonly [name: string, flag: string])[] = [
  ['wrk', '--version'],
  ['nginx', '-v'],
  ['haproxy', '-v'],
  ['caddy', 'version'],
]

async function readSystemVersions(signal: AbortSignal): Promise<readonly string[]> {
  return Promise.all(
    systemPrograms.map(async ([name, flag]) => {
      const path = await findOnPath(name)
      if (path === undefined) return `no ${name}`
      // wrk ends with 1 after it has told its version, and nginx tells it on standard error.
      const text = await new Promise<string>((resolve) => {
        execFile(path, [flag], { signal }, (_error, stdout, stderr) => resolve(`${stdout}${stderr}`))
      })
      return `${name} ${/\d+(\.\d+)+/.exec(text)?.[0] ?? '?'}`
    }),
  )
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
