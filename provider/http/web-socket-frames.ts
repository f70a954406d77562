/** Follows the frames that a program sends on a WebSocket (RFC 6455 section 5.2), to know where one can be put in. */
export interface FrameFollower {
  push(chunk: Buffer): void
  /** Whether no frame is in the middle, and the program has not said goodbye itself. */
  readonly isBetween: boolean
}

const closeOpcode = 8

export function createFrameFollower(): FrameFollower {
  const head = Buffer.alloc(14)
  let headBytes = 0
  let payloadLeft = 0
  let hasSaidGoodbye = false

  /** @returns how long the head is, as far as it is known. */
  function wantedBytes(): number {
    if (headBytes < 2) return 2
    const length = head[1]! & 0x7f
    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + (head[1]! & 0x80 ? 4 : 0)
  }

  function beginPayload(): void {
    const length = head[1]! & 0x7f
    payloadLeft =
      length === 126 ? head.readUInt16BE(2) : length === 127 ? Number(head.readBigUInt64BE(2)) : length
    if ((head[0]! & 0x0f) === closeOpcode) hasSaidGoodbye = true
    headBytes = 0
  }

  return {
    push(chunk) {
      let at = 0
      while (at < chunk.length) {
        if (payloadLeft > 0) {
          const taken = Math.min(payloadLeft, chunk.length - at)
          payloadLeft -= taken
          at += taken
          continue
        }
        head[headBytes++] = chunk[at++]!
        if (headBytes >= 2 && headBytes === wantedBytes()) beginPayload()
      }
    },
    get isBetween() {
      return headBytes === 0 && payloadLeft === 0 && !hasSaidGoodbye
    },
  }
}

/** What a provider says for a program that cannot, by the numbers of RFC 6455 section 7.4.1 and its registry. */
export const goodbyes = {
  /** Its time is over. */
  goingAway: 1001,
  tooLarge: 1009,
  programFailed: 1011,
  restart: 1012,
} as const

/** The frame by which a server ends a WebSocket. */
export function encodeGoodbye(code: number): Buffer {
  return Buffer.of(0x80 | closeOpcode, 2, code >> 8, code & 0xff)
}
