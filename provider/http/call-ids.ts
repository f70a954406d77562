import { randomBytes } from 'node:crypto'
import { toHex } from '../../protocol/base/bytes.ts'
import type { CallId } from '../../protocol/call.ts'

const idBytes = 32
const idsAtOnce = 128

/** Makes the ids of calls. Randomness is drawn for many at once: asking for each alone takes longer than hashing a call. */
export function createCallIds(): () => CallId {
  let pool = Buffer.alloc(0)
  let used = 0
  return () => {
    if (used === pool.length) {
      pool = randomBytes(idBytes * idsAtOnce)
      used = 0
    }
    const id = toHex(pool.subarray(used, used + idBytes))
    used += idBytes
    return id
  }
}
