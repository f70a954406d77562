import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Where one market keeps its things; all of it goes with the market. */
export interface MarketDir extends AsyncDisposable {
  readonly path: string
}

/**
 * Makes a directory for this process's market in `folder`, and removes those of markets that were killed: their chains
 * ended with them, so nobody can use what is left.
 */
export async function openMarketDir(folder: string): Promise<MarketDir> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const entry of await readdir(folder)) {
    const [, pid] = /^market-(\d{1,10})$/.exec(entry) ?? []
    if (pid !== undefined && !isRunning(Number(pid))) await removeAll(join(folder, entry))
  }
  const path = join(folder, `market-${process.pid}`)
  await removeAll(path)
  await mkdir(path, { mode: 0o700 })
  return { path, [Symbol.asyncDispose]: () => removeAll(path) }
}

const removeAll = (path: string) => rm(path, { recursive: true, force: true })

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
