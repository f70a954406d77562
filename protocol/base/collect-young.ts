import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { MiB } from './bytes.ts'

/** @returns what is told of every piece of a stream that passes through this process, in bytes. */
export function createYoungCollector(): (bytes: number) => void {
  let passedBytes = 0
  return (bytes) => {
    passedBytes += bytes
    if (passedBytes < passedBytesMax) return
    passedBytes = 0
    collectors.young?.()
  }
}

/**
 * Node reads a socket into a new buffer each time. V8 sees a small object with much memory elsewhere, waits for 64 MiB of
 * that, and then marks its whole heap, up to 40 times for a GiB; until then, what has passed stays in memory. To look at the
 * young objects alone takes a millisecond or a few, and finds nearly all of these buffers dead. After twice as many bytes V8 often
 * began to mark all the same, for what lies in queues counts, too, and did so 20 times for a GiB.
 */
const passedBytesMax = 4 * MiB

const collectors = {
  /** Undefined where this V8 has no such thing. */
  get young(): (() => void) | undefined {
    const young = exposeYoungCollection()
    Object.defineProperty(collectors, 'young', { value: young })
    return young
  },
}

function exposeYoungCollection(): (() => void) | undefined {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('globalThis.gc')
  return typeof collect === 'function' ? () => void collect({ type: 'minor' }) : undefined
}
