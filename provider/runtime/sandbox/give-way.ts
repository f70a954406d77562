import { join } from 'node:path'
import { tryWrite } from './files.ts'

/**
 * Has a cgroup give way to its neighbours at once, where it weighs less than they do and the kernel can do that (Linux 5.15).
 * A weight alone decides who has had more in the end; who has begun a turn still ends it, up to 4 ms, whoever waits.
 *
 * @returns whether it does, and no weight can be set
 */
export function giveWay(folder: string, percent: number): boolean {
  const isLighter = percent < 100
  return tryWrite(join(folder, 'cpu.idle'), isLighter ? 1 : 0) && isLighter
}
