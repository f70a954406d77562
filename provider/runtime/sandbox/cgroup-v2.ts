import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addProcess } from './add-process.ts'
import type { Cgroup } from './cgroup.ts'
import { type CgroupPlace, daemonLeaf } from './cgroup-place.ts'
import { readCounter, tryRead, tryWrite } from './files.ts'
import { giveWay } from './give-way.ts'
import { removeWhenEmpty } from './remove-cgroup.ts'

type PlaceV2 = Extract<CgroupPlace, { version: 2 }>

/**
 * Makes this provider's cgroup and hands it the controllers. Only leaves may hold processes, so whoever is in our
 * own cgroup moves to a leaf first; at the root that rule does not hold.
 */
export function prepareCgroupsV2({ folder, isRoot }: PlaceV2, name: string): void {
  if (!isRoot) moveToLeaf(folder)
  enableControllers(folder)
  mkdirSync(join(folder, name))
  enableControllers(join(folder, name))
}

/** One sandbox's cgroup. */
export function createCgroupV2({ folder }: PlaceV2, path: string): Cgroup {
  const at = join(folder, path)
  mkdirSync(at)
  const kill = () => void tryWrite(join(at, 'cgroup.kill'), 1)
  return {
    limit({ memoryBytes, pidsMax, cpuPercent }) {
      writeFileSync(join(at, 'memory.max'), String(memoryBytes))
      tryWrite(join(at, 'memory.swap.max'), 0)
      tryWrite(join(at, 'memory.oom.group'), 1)
      writeFileSync(join(at, 'pids.max'), String(pidsMax))
      // The cpu controller may be missing where a user session was delegated only some.
      tryWrite(join(at, 'cpu.max'), `${cpuPercent * 1000} 100000`)
    },
    // Whoever moves itself must be allowed to move others out of our own cgroup, too, so it is always added.
    entrances: () => [],
    add: (pid) => addProcess(at, pid),
    weigh(percent) {
      if (giveWay(at, percent)) return
      tryWrite(join(at, 'cpu.weight'), percent)
    },
    kill,
    wasOutOfMemory: () => (readCounter(tryRead(join(at, 'memory.events')), 'oom_kill') ?? 0) > 0,
    wasOutOfPids: () => (readCounter(tryRead(join(at, 'pids.events')), 'max') ?? 0) > 0,
    usage: () => ({
      cpuMs: (readCounter(tryRead(join(at, 'cpu.stat')), 'usage_usec') ?? 0) / 1000,
      memoryBytes: Number(tryRead(join(at, 'memory.current')) ?? 0),
    }),
    remove: () => removeWhenEmpty({ folders: [at], kill }),
  }
}

function moveToLeaf(folder: string): void {
  const leaf = join(folder, daemonLeaf)
  mkdirSync(leaf, { recursive: true })
  const pids = (tryRead(join(folder, 'cgroup.procs')) ?? '').split('\n').filter(Boolean)
  for (const pid of pids) tryWrite(join(leaf, 'cgroup.procs'), pid)
}

function enableControllers(folder: string): void {
  for (const name of ['memory', 'pids']) writeFileSync(join(folder, 'cgroup.subtree_control'), `+${name}`)
  tryWrite(join(folder, 'cgroup.subtree_control'), '+cpu')
}
