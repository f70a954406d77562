import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { Duplex, Readable, Writable } from 'node:stream'
import type { Log } from '../../../protocol/base/log.ts'
import { limits } from '../../../protocol/limits.ts'
import type { Usage } from '../runtime.ts'
import type { Cgroup } from './cgroup.ts'
import { readCounter, tryRead } from './files.ts'
import type { Handover } from './handover.ts'

/** A process in its sandbox. Disposing ends it and takes away what it left. */
export interface Cell extends AsyncDisposable {
  /** The host's path of the folder that it shares with us. */
  readonly folder: string
  /** Whether it is still there: who tidies up the host's temporary files may take it, and the program with it. */
  readonly hasFolder: boolean
  /** The path by which the process knows it. */
  readonly insideFolder: string
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** Its descriptor 3. */
  readonly control: Duplex
  /** Its way to sockets inside; absent where it was not asked for. */
  readonly handover: Handover | undefined
  /** The process that counts, by the host's number; as `/proc/<pid>/root` its files. */
  readonly pid: number
  /** Sets what all of it together may hold; a sandbox begins with the most that any program may ask for. */
  limitMemory(bytes: number): void
  /** See `Cgroup`; without one the machine alone decides. */
  weigh(percent: number): void
  kill(): void
  /** Aborts when the process ends; what it wrote may still be read. */
  readonly ended: AbortSignal
  /** Once it has ended and everything that it wrote has been read. */
  readonly exited: Promise<CellExit>
  /** Whether it was ended for memory or, without a cgroup, holds too much right now. */
  wasOutOfMemory(): boolean
  /** Whether the kernel has refused it a process or a thread. */
  wasOutOfPids(): boolean
  /** Nothing but us holds its memory down: somebody has to look. */
  readonly isMemoryUnguarded: boolean
  usage(): Usage
}

export interface Overhead {
  readonly memoryBytes: number
  readonly pids: number
}

export interface CellExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface CellParts {
  readonly child: ChildProcess
  /** The process whose memory counts; the child itself where nothing stands between. */
  readonly pid: number
  readonly folder: string
  readonly insideFolder: string
  readonly cgroup: Cgroup | undefined
  readonly handover: Handover | undefined
  /** Its descriptor 3, where it is not that. */
  readonly control?: Duplex
  /** What the walls need beside the program. */
  readonly overhead?: Overhead
  readonly log: Log
}

/** @param parts - A child with pipes on descriptors 0 to 3. */
export function createCell(parts: CellParts): Cell {
  const { child, pid, folder, insideFolder, cgroup, handover, overhead, log } = parts
  let memoryBytesMax = Number.POSITIVE_INFINITY
  let weightPercent = 100
  let isOver = false
  const ended = new AbortController()
  child.once('exit', () => ended.abort())
  const exited = new Promise<CellExit>((resolve) => {
    child.once('close', (code, signal) => {
      isOver = true
      resolve({ code, signal })
    })
  })

  const kill = (): void => {
    if (isOver) return
    if (!cgroup) killInside(pid, child.pid)
    child.kill('SIGKILL')
    cgroup?.kill()
  }

  async function clear(): Promise<void> {
    kill()
    await exited
    await cgroup?.remove().catch((error) => log.warn('cgroup_left', { error: String(error) }))
    await rm(folder, { recursive: true, force: true })
  }
  let clearing: Promise<void> | undefined

  const usage = (): Usage => cgroup?.usage() ?? (isOver ? {} : readUsage(pid))

  return {
    folder,
    get hasFolder() {
      return existsSync(folder)
    },
    insideFolder,
    stdin: child.stdin!,
    stdout: child.stdout!,
    stderr: child.stderr!,
    control: parts.control ?? (child.stdio[3] as Duplex),
    handover,
    pid,
    ended: ended.signal,
    exited,
    kill,
    usage,
    limitMemory(bytes) {
      memoryBytesMax = bytes
      cgroup?.limit(cgroupLimits(bytes + (overhead?.memoryBytes ?? 0), overhead))
    },
    weigh(percent) {
      if (percent === weightPercent || isOver) return
      weightPercent = percent
      cgroup?.weigh(percent)
    },
    wasOutOfMemory: () => cgroup?.wasOutOfMemory() ?? (usage().memoryBytes ?? 0) > memoryBytesMax,
    wasOutOfPids: () => cgroup?.wasOutOfPids() ?? false,
    isMemoryUnguarded: cgroup === undefined,
    [Symbol.asyncDispose]() {
      clearing ??= clear()
      return clearing
    },
  }
}

/**
 * Ends the process in a sandbox itself: bubblewrap ties it to its own life late, and a young one would wait for it for
 * ever. Only while it is bubblewrap's child, as numbers are given out again.
 */
function killInside(pid: number, parentPid: number | undefined): void {
  if (pid === parentPid || Number(readStat(pid)?.[1]) !== parentPid) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself meanwhile.
  }
}

/** Fields of /proc/<pid>/stat from the state on; before it is the name, which may hold anything. */
function readStat(pid: number): readonly string[] | undefined {
  return tryRead(`/proc/${pid}/stat`)
    ?.replace(/^.*\) /s, '')
    .split(' ')
}

export function cgroupLimits(memoryBytes: number, { pids = 0 }: Partial<Overhead> = {}) {
  return { memoryBytes, pidsMax: limits.programPidsMax + pids, cpuPercent: limits.programCpuPercentMax }
}

/** Without a cgroup: the process's own time, and its memory without the binary that all of them share. */
function readUsage(pid: number): Usage {
  const status = tryRead(`/proc/${pid}/status`)
  const anonymousKiB = readCounter(status, 'RssAnon:')
  // The twelfth and thirteenth are ticks of a hundredth of a second.
  const fields = readStat(pid)
  if (anonymousKiB === undefined || !fields) return {}
  return {
    memoryBytes: (anonymousKiB + (readCounter(status, 'RssShmem:') ?? 0)) * 1024,
    cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
  }
}
