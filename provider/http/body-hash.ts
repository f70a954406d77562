import { createHash, type Hash, hash } from 'node:crypto'

/** SHA-256 of a body as it passes. */
export interface BodyHash {
  /** The chunk must not change afterwards. */
  update(chunk: Buffer): void
  /** May be asked once more after it, and says the same. */
  digest(): Buffer
}

const nothing = Buffer.alloc(0)

/** A body that comes in one piece, as nearly every one does, is hashed in one go: a sixth of the time. */
export function createBodyHash(): BodyHash {
  let first: Buffer | undefined
  let rest: Hash | undefined
  let digest: Buffer | undefined
  return {
    update(chunk) {
      if (rest) rest.update(chunk)
      else if (first) rest = createHash('sha256').update(first).update(chunk)
      else first = chunk
    },
    digest() {
      digest ??= rest ? rest.digest() : hash('sha256', first ?? nothing, 'buffer')
      return digest
    },
  }
}
