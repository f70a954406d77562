import { readdirSync, readFileSync } from 'node:fs'

/** CPU time that processes have used since they started; undefined where there is no `/proc`. */
export interface CpuTime {
  /** All threads of the process itself. */
  readonly ownUs: number
  /** All processes that it started, and theirs; those that ended count from when they were waited for. */
  readonly childrenUs: number
}

/** Linux counts in hundredths of a second, whatever the kernel was built with. */
const tickUs = 10_000

/** Reads the CPU time of a process and of its descendants. */
export function readCpuTime(pid: number): CpuTime | undefined {
  const stats = readStats()
  const own = stats.get(pid)
  if (!own) return undefined
  return { ownUs: own.cpuUs, childrenUs: own.endedUs + sumDescendants(stats, pid) }
}

interface ProcessStat {
  readonly parentPid: number
  readonly cpuUs: number
  /** Of children that ended, and of theirs. */
  readonly endedUs: number
}

function readStats(): Map<number, ProcessStat> {
  const stats = new Map<number, ProcessStat>()
  for (const pid of listPids()) {
    const stat = readStat(pid)
    if (stat) stats.set(pid, stat)
  }
  return stats
}

function listPids(): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  } catch {
    return []
  }
}

/** See proc_pid_stat(5): the name in parentheses may hold anything, so fields count from its end. */
function readStat(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const sumUs = (first: number) => (Number(fields[first]) + Number(fields[first + 1])) * tickUs
    return { parentPid: Number(fields[1]), cpuUs: sumUs(11), endedUs: sumUs(13) }
  } catch {
    // It ended between the listing and the reading.
    return undefined
  }
}

/** Its descendants that live. */
export function listDescendants(pid: number): readonly number[] {
  const stats = readStats()
  const below = (ancestor: number): readonly number[] =>
    [...stats].flatMap(([child, { parentPid }]) => (parentPid === ancestor ? [child, ...below(child)] : []))
  return below(pid)
}

function sumDescendants(stats: ReadonlyMap<number, ProcessStat>, ancestor: number): number {
  let sumUs = 0
  for (const [pid, { parentPid, cpuUs, endedUs }] of stats) {
    if (parentPid === ancestor) sumUs += cpuUs + endedUs + sumDescendants(stats, pid)
  }
  return sumUs
}
