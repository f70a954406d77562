import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'

const memoryMount = '/dev/shm'
const tmpfs = 0x0102_1994

/** A directory in memory, gone with `owner`; undefined where the system has none. */
export async function openMemoryDir(owner: AsyncDisposableStack): Promise<string | undefined> {
  const mount = await statfs(memoryMount).catch(() => undefined)
  if (mount?.type !== tmpfs) return undefined
  const dir = await mkdtemp(join(memoryMount, 'khachapuri-bench-'))
  owner.defer(() => rm(dir, { recursive: true, force: true }))
  return dir
}
