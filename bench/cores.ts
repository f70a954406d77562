import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { findOnPath } from './peers.ts'

/** Which processor cores the parts of a measurement have, as lists for `taskset`. */
export interface Cores {
  /** One, for what is measured, and nothing else of the bench. */
  readonly measured: string
  /** For all the rest. */
  readonly others: string
}

/** Moves the bench off one core; what it starts from then on follows. It moves back when disposed. */
export interface PinnedBench extends Cores, AsyncDisposable {}

/** @returns undefined where there is no `taskset`, or one core only */
export async function pinBench(signal: AbortSignal): Promise<PinnedBench | undefined> {
  const allowed = readAllowedCores()
  const [first, measured, ...more] = allowed
  if (measured === undefined || !(await findOnPath('taskset'))) return undefined
  const others = [first, ...more].join(',')
  await moveBench(others, signal)
  return {
    measured: String(measured),
    others,
    [Symbol.asyncDispose]: () => moveBench(allowed.join(','), new AbortController().signal),
  }
}

/** What runs where, as half a sentence for below the tables. */
export const describeCores = (cores: Cores | undefined): string =>
  cores
    ? `The gateway, like the server side of each peer, runs alone on core ${cores.measured}, all the rest on ${cores.others}`
    : 'Nothing is pinned here, as there is one core only or no taskset'

/** All threads, as those of the pool belong to the rest, too. */
async function moveBench(cores: string, signal: AbortSignal): Promise<void> {
  await promisify(execFile)('taskset', ['-a', '-c', '-p', cores, String(process.pid)], { signal })
}

/** See proc_pid_status(5); empty where there is no `/proc`. */
function readAllowedCores(): readonly number[] {
  try {
    const [, list = ''] =
      /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    return parseCoreList(list)
  } catch {
    return []
  }
}

/** Reads a list as the kernel writes it: `0-3,8`. */
export function parseCoreList(list: string): readonly number[] {
  return (list.match(/[\d-]+/g) ?? []).flatMap((range) => {
    const [from = Number.NaN, to = from] = range.split('-').map(Number)
    return Number.isInteger(from) && to >= from
      ? Array.from({ length: to - from + 1 }, (_, index) => from + index)
      : []
  })
}
