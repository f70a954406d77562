import { readdirSync, readFileSync } from 'node:fs'

/**
 * Memory of all processes below one, in MiB, by `smaps_rollup` (proc_pid_smaps(5)): a page that several processes share is
 * counted once among them (PSS), where resident sizes would count it for each. Undefined where there is no `/proc`.
 */
export function readDescendantsMiB(pid: number): number | undefined {
  const parents = readParents()
  if (parents.size === 0) return undefined
  const isBelow = (one: number | undefined): boolean =>
    one !== undefined && (one === pid || isBelow(parents.get(one)))
  let sumKiB = 0
  for (const [one, parent] of parents) if (isBelow(parent)) sumKiB += readPssKiB(one)
  return sumKiB / 1024
}

function readParents(): Map<number, number> {
  const parents = new Map<number, number>()
  for (const name of tryTo(() => readdirSync('/proc')) ?? []) {
    const stat = /^\d+$/.test(name) && tryTo(() => readFileSync(`/proc/${name}/stat`, 'utf8'))
    // The name in parentheses may hold anything, so fields count from its end: see proc_pid_stat(5).
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  return parents
}

function readPssKiB(pid: number): number {
  const text = tryTo(() => readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))
  return Number(/^Pss:\s+(\d+) kB/m.exec(text ?? '')?.[1] ?? 0)
}

/** A process may end between two looks. */
function tryTo<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
