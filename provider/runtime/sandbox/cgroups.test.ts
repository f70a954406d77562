import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openCgroups } from './cgroups.ts'
import { openUsers } from './users.ts'

const cgroups = await openCgroups()
if (typeof cgroups !== 'string') await cgroups[Symbol.asyncDispose]()
const limits = { memoryBytes: 64 * 1024 * 1024, cpuPercent: 100 }

const user = openUsers()?.()
const version = typeof cgroups === 'string' ? undefined : cgroups.version
/** Enters by every argument, says where it is then, and tries to bring its parent along. */
const enterScript = `
for file; do echo 0 >"$file" || exit; done
cat /proc/self/cgroup; for file; do echo $PPID >"$file"; done 2>/dev/null`

test.skipIf(version !== 1 || user === undefined)(
  'a process of the user whose it is enters by itself, and brings in nobody of another user',
  async () => {
    const opened = await openCgroups()
    if (typeof opened === 'string') throw new Error(opened)
    await using all = opened
    const cgroup = all.create()
    const own = readFileSync('/proc/self/cgroup', 'utf8')
    const entrances = cgroup.entrances(user)
    const child = spawn('sh', ['-c', enterScript, 'sh', ...entrances], { uid: user!, gid: user! })
    const text = await child.stdout.setEncoding('utf8').toArray()
    const lines = text.join('').trim().split('\n')
    const controllers = ['cpu', 'cpuacct', 'memory', 'pids', 'freezer']
    const placed = lines.filter((line) => controllers.includes(line.split(':')[1]!.split(',')[0]!))
    expect(placed).toHaveLength(entrances.length)
    for (const line of placed) expect(line).toMatch(/\/khachapuri-[^/]+\/1$/)
    expect(readFileSync('/proc/self/cgroup', 'utf8')).toBe(own)
    await cgroup.remove()
  },
)

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
      await cgroup.add(child.pid!)
      child.stdin.end('go\n')
      await once(child, 'close')
      expect(cgroup.wasOutOfPids()).toBe(isHit)
      await cgroup.remove()
    }
  },
)
