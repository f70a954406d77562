import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Cgroup } from './cgroup.ts'
import { openCgroups } from './cgroups.ts'
import { openUsers } from './users.ts'

const cgroups = await openCgroups()
if (typeof cgroups !== 'string') await cgroups[Symbol.asyncDispose]()
const limits = { memoryBytes: 64 * 1024 * 1024, cpuPercent: 100 }

const canPin = spawnSync('taskset', ['-c', '0', 'true']).status === 0
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

/** Version 2 may be delegated without the cpu controller. */
function weighs(pid: number): boolean {
  const [, path] = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8')) ?? []
  return version === 1 || existsSync(`/sys/fs/cgroup${path}/cpu.weight`)
}

/** What a busy process has to itself before another one is compared with it. */
const busyMs = 60

test.skipIf(typeof cgroups === 'string' || !canPin)(
  'who weighs less leaves its processor to who wants it, until it weighs the same again',
  async ({ skip }) => {
    const opened = await openCgroups()
    if (typeof opened === 'string') throw new Error(opened)
    await using all = opened
    const loops = [all.create(), all.create()] as const
    const [heavy, light] = loops
    const usedMs = (cgroup: Cgroup) => cgroup.usage().cpuMs ?? 0
    const hasUsed = async (cgroup: Cgroup, sinceMs: number) => {
      while (usedMs(cgroup) < sinceMs + busyMs) await setTimeout(1)
    }
    try {
      for (const cgroup of loops) {
        const child = spawn('taskset', ['-c', '0', 'sh', '-c', 'read line; while :; do :; done'], {
          stdio: ['pipe', 'ignore', 'ignore'],
        })
        await cgroup.add(child.pid!)
        if (!weighs(child.pid!)) skip('a user session was not given the cpu controller')
        child.stdin.end('go\n')
        await hasUsed(cgroup, 0)
        cgroup.weigh(6)
      }
      heavy.weigh(100)
      const [heavyMs, lightMs] = [usedMs(heavy), usedMs(light)]
      await hasUsed(heavy, heavyMs)
      await hasUsed(heavy, heavyMs + busyMs)
      expect((usedMs(light) - lightMs) / (usedMs(heavy) - heavyMs)).toBeLessThan(1 / 4)
      heavy.weigh(6)
      light.weigh(100)
      await hasUsed(light, usedMs(light) + busyMs)
    } finally {
      for (const cgroup of loops) await cgroup.remove()
    }
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
