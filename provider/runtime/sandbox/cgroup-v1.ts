import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addProcess } from './add-process.ts'
import type { Cgroup } from './cgroup.ts'
import type { CgroupPlace } from './cgroup-place.ts'
import { readCounter, tryRead, tryWrite } from './files.ts'
import { giveWay } from './give-way.ts'
import { removeWhenEmpty } from './remove-cgroup.ts'

type PlaceV1 = Extract<CgroupPlace, { version: 1 }>

/** Makes this provider's cgroup in every hierarchy. */
export function prepareCgroupsV1({ folders }: PlaceV1, name: string): void {
  for (const folder of Object.values(folders)) makeOpenFolder(join(folder, name))
}

/** A process on its way in is its program's user already, whatever this process keeps to itself by default. */
function makeOpenFolder(path: string): void {
  mkdirSync(path)
  chmodSync(path, 0o755)
}

/** One sandbox's cgroup: the same path in five hierarchies. */
export function createCgroupV1({ folders }: PlaceV1, path: string): Cgroup {
  const at = {
    memory: join(folders.memory, path),
    pids: join(folders.pids, path),
    cpu: join(folders.cpu, path),
    cpuacct: join(folders.cpuacct, path),
    freezer: join(folders.freezer, path),
  }
  // Controllers may be mounted together, as cpu and cpuacct often are.
  const all = [...new Set(Object.values(at))]
  for (const folder of all) makeOpenFolder(folder)

  /** A fork bomb would outrun a loop of kills, unless it is frozen. */
  const kill = (): void => {
    tryWrite(join(at.freezer, 'freezer.state'), 'FROZEN')
    for (const pid of (tryRead(join(at.pids, 'cgroup.procs')) ?? '').split('\n').filter(Boolean)) {
      killProcess(Number(pid))
    }
    tryWrite(join(at.freezer, 'freezer.state'), 'THAWED')
  }

  return {
    limit({ memoryBytes, pidsMax, cpuPercent }) {
      // Memory with swap may never be less than memory: which goes first depends on the direction.
      const setSwap = () => tryWrite(join(at.memory, 'memory.memsw.limit_in_bytes'), memoryBytes)
      setSwap()
      writeFileSync(join(at.memory, 'memory.limit_in_bytes'), String(memoryBytes))
      setSwap()
      writeFileSync(join(at.pids, 'pids.max'), String(pidsMax))
      writeFileSync(join(at.cpu, 'cpu.cfs_period_us'), '100000')
      writeFileSync(join(at.cpu, 'cpu.cfs_quota_us'), String(cpuPercent * 1000))
    },
    entrances(user) {
      const files = all.map((folder) => join(folder, 'tasks'))
      // Whoever has one may bring in processes of its own, and nobody else's.
      if (user !== undefined) for (const file of files) chownSync(file, user, user)
      return files
    },
    async add(pid) {
      for (const folder of all) await addProcess(folder, pid)
    },
    weigh(percent) {
      if (giveWay(at.cpu, percent)) return
      tryWrite(join(at.cpu, 'cpu.shares'), Math.round(10.24 * percent))
    },
    kill,
    wasOutOfMemory: () => (readCounter(tryRead(join(at.memory, 'memory.oom_control')), 'oom_kill') ?? 0) > 0,
    wasOutOfPids: () => (readCounter(tryRead(join(at.pids, 'pids.events')), 'max') ?? 0) > 0,
    usage: () => ({
      cpuMs: Number(tryRead(join(at.cpuacct, 'cpuacct.usage')) ?? 0) / 1e6,
      memoryBytes: Number(tryRead(join(at.memory, 'memory.usage_in_bytes')) ?? 0),
    }),
    remove: () => removeWhenEmpty({ folders: all, kill }),
  }
}

function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself meanwhile.
  }
}
