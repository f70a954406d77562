import { KiB } from '../base/bytes.ts'

/**
 * Bytes that wait for a slow reader. Small parts are copied together, so that a peer that sends single bytes makes
 * us hold bytes, and not a message of a mebibyte for each of them.
 */
export interface ByteQueue {
  readonly bytes: number
  push(part: Buffer): void
  /** The next bytes in order; undefined when it is empty. */
  shift(): Buffer | undefined
  clear(): void
}

const blockBytes = 16 * KiB

export function createByteQueue(): ByteQueue {
  let blocks: Buffer[] = []
  /** A block of our own at the end of the queue, and how much of it is filled. */
  let tail: Buffer | undefined
  let tailBytes = 0
  let bytes = 0

  const closeTail = () => {
    if (tail) blocks.push(tail.subarray(0, tailBytes))
    tail = undefined
  }

  return {
    get bytes() {
      return bytes
    },
    push(part) {
      bytes += part.length
      if (part.length >= blockBytes) {
        closeTail()
        blocks.push(part)
        return
      }
      let at = 0
      while (at < part.length) {
        if (!tail) {
          tail = Buffer.allocUnsafeSlow(blockBytes)
          tailBytes = 0
        }
        const copied = part.copy(tail, tailBytes, at)
        at += copied
        tailBytes += copied
        if (tailBytes === blockBytes) closeTail()
      }
    },
    shift() {
      if (blocks.length === 0) closeTail()
      const block = blocks.shift()
      bytes -= block?.length ?? 0
      return block
    },
    clear() {
      blocks = []
      tail = undefined
      bytes = 0
    },
  }
}
