import { join } from 'node:path'
import { tryRead } from '../../provider/runtime/sandbox/files.ts'
import { descendants } from './traces.ts'

/** What the kernel lets the sandboxes of this process weigh against each other, in no order; none without cgroups. */
export function readWeights(): number[] {
  return listFolders().flatMap((folder) => readNumbers(`${folder}/cpu.shares`, `${folder}/cpu.weight`))
}

/** How many cores the kernel gives each of them at most; Infinity without a bound. */
export function readCores(): number[] {
  return listFolders().map((folder) => {
    const [quota, period] =
      tryRead(`${folder}/cpu.max`)?.split(' ') ??
      ['quota', 'period'].map((name) => tryRead(`${folder}/cpu.cfs_${name}_us`))
    return Number(quota) > 0 ? Number(quota) / Number(period) : Number.POSITIVE_INFINITY
  })
}

const listFolders = () => [...new Set(descendants().flatMap(cpuFolderOf))]

const readNumbers = (...paths: string[]) => paths.flatMap((path) => tryRead(path) ?? []).map(Number)

function cpuFolderOf(pid: number): string[] {
  const lines = tryRead(`/proc/${pid}/cgroup`)?.split('\n') ?? []
  return lines.flatMap((line) => {
    const [, controllers, path] = line.split(':')
    const isCpu = controllers === '' || controllers?.split(',').includes('cpu')
    return isCpu && path?.includes(`khachapuri-${process.pid}-`)
      ? [join('/sys/fs/cgroup', controllers!, path)]
      : []
  })
}
