import { rmdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

interface RemoveOptions {
  readonly folders: readonly string[]
  readonly kill: () => void
}

const triesMax = 200
const intervalMs = 5

/**
 * Kills and removes until nothing is left: a process that was killed stays in its cgroup until the kernel has put it
 * away, which nothing announces.
 *
 * @throws the last refusal after a second.
 */
export async function removeWhenEmpty({ folders, kill }: RemoveOptions): Promise<void> {
  for (let tries = 1; ; tries++) {
    const failures = await Promise.allSettled(folders.map((folder) => rmdir(folder)))
    const busy = failures.find((one) => one.status === 'rejected' && one.reason.code !== 'ENOENT')
    if (busy?.status !== 'rejected') return
    if (tries === triesMax) throw busy.reason
    kill()
    await sleep(intervalMs)
  }
}
