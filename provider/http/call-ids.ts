import { randomBytes } from 'node:crypto'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { CallId } from '../../protocol/call.ts'

const timeBytes = 6
const idBytes = 32
const idsAtOnce = 128

/**
 * Makes the ids of calls: six bytes of time, so that the ledger's index grows at its end and a group of charges changes
 * one page of it rather than one for each, and 26 random bytes, which nobody guesses. The randomness is drawn for many
 * ids at once: asking for that of each alone takes longer than hashing a call.
 */
export function createCallIds({ clock }: { clock: Clock }): () => CallId {
  let pool = Buffer.alloc(0)
  let used = 0
  return () => {
    if (used === pool.length) {
      pool = randomBytes(idBytes * idsAtOnce)
      used = 0
    }
    const id = pool.subarray(used, used + idBytes)
    id.writeUIntBE(clock.nowMs(), 0, timeBytes)
    used += idBytes
    return toHex(id)
  }
}
