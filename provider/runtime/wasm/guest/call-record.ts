import { sha256 } from './sha-256.ts'

/**
 * What a call may know of the world: its time and its randomness both come from the call's record, so that whoever has
 * the record and the input can run the call again and get the same bytes. The randomness is as public as the record:
 * it serves for shuffling and sampling, and must make no key.
 */
export interface CallRecord {
  /** Any text that no two calls share. */
  readonly seed: string
  /** Milliseconds since 1970. */
  readonly startedMs: number
}

/** A clock that stands at the call's start and moves with what the program does, never with the machine. */
export interface Clock {
  /** Nanoseconds since 1970. Each look takes a microsecond: who waits for time to pass does not wait for ever. */
  now(): bigint
  /** Lets time pass at once. */
  pass(durationNs: bigint): void
}

export function createClock({ startedMs }: CallRecord): Clock {
  let nowNs = BigInt(startedMs) * 1_000_000n
  return {
    now() {
      nowNs += 1_000n
      return nowNs
    },
    pass(durationNs) {
      nowNs += durationNs
    },
  }
}

/** SHA-256 of the call's seed with a counter, block after block. @returns what fills a part of memory */
export function createRandom({ seed }: CallRecord): (target: Uint8Array) => void {
  let counter = 0
  let block = new Uint8Array(0)
  return (target) => {
    for (let at = 0; at < target.length; ) {
      if (block.length === 0) {
        block = sha256(`khachapuri random ${seed} ${counter}`)
        counter += 1
      }
      const taken = block.subarray(0, target.length - at)
      target.set(taken, at)
      at += taken.length
      block = block.subarray(taken.length)
    }
  }
}
