import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { openCgroups } from './cgroup.ts'

const cgroups = await openCgroups()
if (typeof cgroups !== 'string') await cgroups[Symbol.asyncDispose]()
const limits = { memoryBytes: 64 * 1024 * 1024, cpuPercent: 100 }

/** Where this machine offers no cgroups, there is nothing to hold anybody. */
test.skipIf(typeof cgroups === 'string')(
  'a process that wants more processes than it may is refused them, and it is known afterwards',
  async () => {
    const opened = await openCgroups()
    if (typeof opened === 'string') throw new Error(opened)
    await using all = opened
    for (const [pidsMax, isHit] of [
      [20, false],
      [2, true],
    ] as const) {
      const cgroup = all.create()
      cgroup.limit({ ...limits, pidsMax })
      // It waits until it is inside, then forks three at a time.
      const child = spawn('sh', ['-c', 'read line; cat /dev/null | cat | cat'], {
        stdio: ['pipe', 'ignore', 'ignore'],
      })
      cgroup.add(child.pid!)
      child.stdin.end('go\n')
      await once(child, 'close')
      expect(cgroup.wasOutOfPids()).toBe(isHit)
      await cgroup.remove()
    }
  },
)
