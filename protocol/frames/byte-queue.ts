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

export const createByteQueue = (): ByteQueue => new BlockQueue()

const blockBytes = 16 * KiB

/** A class, because there may be one for every stream. */
class BlockQueue implements ByteQueue {
  bytes = 0
  #blocks: Buffer[] = []
  /** A block of our own at the end of the queue, and how much of it is filled. */
  #tail: Buffer | undefined
  #tailBytes = 0

  push(part: Buffer): void {
    this.bytes += part.length
    if (part.length >= blockBytes) {
      this.#closeTail()
      this.#blocks.push(part)
      return
    }
    let at = 0
    while (at < part.length) {
      if (!this.#tail) {
        this.#tail = Buffer.allocUnsafeSlow(blockBytes)
        this.#tailBytes = 0
      }
      const copied = part.copy(this.#tail, this.#tailBytes, at)
      at += copied
      this.#tailBytes += copied
      if (this.#tailBytes === blockBytes) this.#closeTail()
    }
  }

  shift(): Buffer | undefined {
    if (this.#blocks.length === 0) this.#closeTail()
    const block = this.#blocks.shift()
    this.bytes -= block?.length ?? 0
    return block
  }

  clear(): void {
    this.#blocks = []
    this.#tail = undefined
    this.bytes = 0
  }

  #closeTail(): void {
    if (this.#tail) this.#blocks.push(this.#tail.subarray(0, this.#tailBytes))
    this.#tail = undefined
  }
}
