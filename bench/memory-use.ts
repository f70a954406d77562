import { readdirSync, readFileSync } from 'node:fs'

/** A process below another one. */
export interface ProcessMemory {
  readonly pid: number
  readonly parentPid: number
  readonly cpuTicks: number
  /** By `smaps_rollup`: a page that several processes share is divided by their number (PSS), where resident sizes count it for each. */
  readonly pssMiB: number
}

/** All processes below one; none where there is no `/proc`. */
export function readDescendants(pid: number): readonly ProcessMemory[] {
  const stats = readStats()
  const isBelow = (one: number | undefined): boolean =>
    one !== undefined && (one === pid || isBelow(stats.get(one)?.parentPid))
  return [...stats.values()]
    .filter(({ parentPid }) => isBelow(parentPid))
    .map((stat) => ({ ...stat, pssMiB: readPssMiB(stat.pid) }))
}

/** The program that has worked most, with the bubblewrap beside it; undefined where there is none. */
export function findBusiestMiB(processes: readonly ProcessMemory[]): number | undefined {
  const [busiest] = processes.toSorted((one, other) => other.cpuTicks - one.cpuTicks)
  const parent = processes.find(({ pid }) => pid === busiest?.parentPid)
  return busiest && busiest.pssMiB + (parent?.pssMiB ?? 0)
}

export const sumMiB = (processes: readonly ProcessMemory[]): number =>
  processes.reduce((sum, { pssMiB }) => sum + pssMiB, 0)

type Stat = Omit<ProcessMemory, 'pssMiB'>

function readStats(): Map<number, Stat> {
  const stats = new Map<number, Stat>()
  for (const name of tryTo(() => readdirSync('/proc')) ?? []) {
    const text = /^\d+$/.test(name) ? tryTo(() => readFileSync(`/proc/${name}/stat`, 'utf8')) : undefined
    if (text === undefined) continue
    // The name in parentheses may hold anything, so fields count from its end: see proc_pid_stat(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const cpuTicks = Number(fields[11]) + Number(fields[12])
    stats.set(Number(name), { pid: Number(name), parentPid: Number(fields[1]), cpuTicks })
  }
  return stats
}

function readPssMiB(pid: number): number {
  const text = tryTo(() => readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))
  return Number(/^Pss:\s+(\d+) kB/m.exec(text ?? '')?.[1] ?? 0) / 1024
}

/** A process may end between two looks. */
function tryTo<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
