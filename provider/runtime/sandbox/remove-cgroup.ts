import { rmdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

interface RemoveOptions {
  readonly folders: readonly string[]
  readonly kill: () => void
}

const intervalMs = { min: 5, max: 100 } as const
const patienceMs = 10_000

/**
 * Kills and removes until nothing is left: a process that was killed stays in its cgroup until the kernel has put it
 * away, which nothing announces, and which takes seconds on a machine that has too much to do.
 *
 * @throws the last refusal after ten seconds.
 */
export async function removeWhenEmpty({ folders, kill }: RemoveOptions): Promise<void> {
  let waitedMs = 0
  for (let waitMs: number = intervalMs.min; ; waitMs = Math.min(2 * waitMs, intervalMs.max)) {
    const failures = await Promise.allSettled(folders.map((folder) => rmdir(folder)))
    const busy = failures.find((one) => one.status === 'rejected' && one.reason.code !== 'ENOENT')
    if (busy?.status !== 'rejected') return
    if (waitedMs >= patienceMs) throw busy.reason
    kill()
    await sleep(waitMs)
    waitedMs += waitMs
  }
}
