import { randomInt } from 'node:crypto'
import { tryRead } from './files.ts'

const firstUser = 200_000
const usersMax = 1_000_000

/**
 * Users that belong to nobody, one for every sandbox, so that two programs share not even a user id. Only root can
 * give them out.
 *
 * @returns undefined where this process is not root, or is root of a user namespace without such users.
 */
export function openUsers(): (() => number) | undefined {
  if (process.getuid?.() !== 0 || !isMapped(tryRead('/proc/self/uid_map'), firstUser + usersMax))
    return undefined
  // Two providers on one machine hardly meet, even if neither knows of the other.
  let next = randomInt(usersMax)
  return () => firstUser + (next++ % usersMax)
}

/** Whether every user id below `end` exists here; lines are `inside outside count`. */
export function isMapped(uidMap: string | undefined, end: number): boolean {
  if (uidMap === undefined) return true // Not Linux: no user namespaces.
  return uidMap.split('\n').some((line) => {
    const [first = 1, , count = 0] = line.trim().split(/\s+/).map(Number)
    return first === 0 && count >= end
  })
}
