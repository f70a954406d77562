import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

/** What a frame is, as its first byte. Wire format: add, but never renumber. */
export const frameTypes = {
  /** The head of a request or response; data follow. */
  head: 1,
  data: 2,
  /** The sender's direction is over. Trailers, as Latin-1 JSON, or nothing. */
  end: 3,
  /** The stream is over, now, in both directions. One byte: why. */
  reset: 4,
  /** More credit for the receiver of this frame, in bytes (u32). */
  window: 5,
  /** The provider took the request: from now on it is not sent again. */
  accept: 6,
  ping: 7,
  pong: 8,
  /** The sender will leave soon. */
  goaway: 9,
  /** Head, whole body and end in one: `u32 head length | head | body`. */
  full: 10,
  /** What the sender still has for this stream comes through its lane, on another connection. */
  moved: 11,
  /** The gateway has use for one more connection, for large streams. */
  more: 12,
  /** The provider wants the body of a request that waits for that. */
  continue: 13,
} as const

export type FrameType = (typeof frameTypes)[keyof typeof frameTypes]

/** `type u8 | stream u32 | length u32`, big-endian. */
export const frameHeaderBytes = 9

/** Where a parser puts what it finds. */
export interface FrameSink {
  /** Everything but data; the payload is whole. */
  onFrame(type: FrameType, streamId: number, payload: Buffer): void
  /** Part of the payload of a data frame, never empty. Parts are not joined, so that bulk is not copied. */
  onData(streamId: number, part: Buffer): void
}

export interface FrameParser {
  /**
   * Takes the next bytes, cut anywhere.
   *
   * @throws ProtocolError `frame_invalid`; the parser is of no use after that.
   */
  receive(chunk: Buffer): void
}

/** Cuts a byte stream into frames. It holds at most one frame that is not data. */
export const createFrameParser = (sink: FrameSink): FrameParser => new StreamedFrames(sink)

class StreamedFrames implements FrameParser {
  readonly #sink: FrameSink
  /** Of a header that came in pieces. */
  #header: Buffer | undefined
  #headerBytes = 0
  #type: FrameType = frameTypes.data
  #streamId = 0
  #dataBytesLeft = 0
  #payload: Buffer | undefined
  #payloadBytes = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  receive(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#dataBytesLeft > 0) at += this.#continueData(chunk, at)
      else if (this.#payload) at += this.#continuePayload(this.#payload, chunk, at)
      else at += this.#continueHeader(chunk, at)
    }
  }

  #readHeader(bytes: Buffer, at: number): number {
    this.#type = bytes[at] as FrameType
    this.#streamId = bytes.readUInt32BE(at + 1)
    const length = bytes.readUInt32BE(at + 5)
    checkHeader(this.#type, this.#streamId, length)
    return length
  }

  /** @returns how many bytes of `chunk` from `at` belong to the frame whose header was just read. */
  #startPayload(length: number, chunk: Buffer, at: number): number {
    if (this.#type === frameTypes.data) {
      this.#dataBytesLeft = length
      return 0
    }
    if (chunk.length - at >= length) {
      this.#sink.onFrame(this.#type, this.#streamId, chunk.subarray(at, at + length))
      return length
    }
    this.#payload = Buffer.allocUnsafeSlow(length)
    this.#payloadBytes = chunk.copy(this.#payload, 0, at)
    return this.#payloadBytes
  }

  #continuePayload(whole: Buffer, chunk: Buffer, at: number): number {
    const taken = chunk.copy(whole, this.#payloadBytes, at)
    this.#payloadBytes += taken
    if (this.#payloadBytes === whole.length) {
      this.#payload = undefined
      this.#sink.onFrame(this.#type, this.#streamId, whole)
    }
    return taken
  }

  #continueData(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#dataBytesLeft, chunk.length - at)
    this.#dataBytesLeft -= taken
    this.#sink.onData(this.#streamId, taken === chunk.length ? chunk : chunk.subarray(at, at + taken))
    return taken
  }

  #continueHeader(chunk: Buffer, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= frameHeaderBytes) {
      const length = this.#readHeader(chunk, at)
      return frameHeaderBytes + this.#startPayload(length, chunk, at + frameHeaderBytes)
    }
    this.#header ??= Buffer.alloc(frameHeaderBytes)
    const taken = chunk.copy(this.#header, this.#headerBytes, at)
    this.#headerBytes += taken
    if (this.#headerBytes < frameHeaderBytes) return taken
    this.#headerBytes = 0
    return taken + this.#startPayload(this.#readHeader(this.#header, 0), chunk, at + taken)
  }
}

/** One frame in one buffer. */
export function encodeFrame(type: FrameType, streamId: number, payload?: Uint8Array): Buffer {
  const frame = encodeFrameHeader(type, streamId, payload?.length ?? 0, payload?.length ?? 0)
  if (payload) frame.set(payload, frameHeaderBytes)
  return frame
}

/** The header alone, for a payload that is sent after it uncopied. @param roomBytes - Extra bytes behind it. */
export function encodeFrameHeader(type: FrameType, streamId: number, length: number, roomBytes = 0): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + roomBytes)
  frame[0] = type
  frame.writeUInt32BE(streamId, 1)
  frame.writeUInt32BE(length, 5)
  return frame
}

export function encodeWindowFrame(streamId: number, creditBytes: number): Buffer {
  const frame = encodeFrameHeader(frameTypes.window, streamId, 4, 4)
  frame.writeUInt32BE(creditBytes, frameHeaderBytes)
  return frame
}

/** @param head - Latin-1: one character is one byte. */
export function encodeHeadFrame(streamId: number, head: string): Buffer {
  const frame = encodeFrameHeader(frameTypes.head, streamId, head.length, head.length)
  frame.write(head, frameHeaderBytes, 'latin1')
  return frame
}

/** @param head - Latin-1: one character is one byte. */
export function encodeFullFrame(streamId: number, head: string, body?: Uint8Array): Buffer {
  const length = 4 + head.length + (body?.length ?? 0)
  const frame = encodeFrameHeader(frameTypes.full, streamId, length, length)
  frame.writeUInt32BE(head.length, frameHeaderBytes)
  frame.write(head, frameHeaderBytes + 4, 'latin1')
  if (body) frame.set(body, frameHeaderBytes + 4 + head.length)
  return frame
}

/** @throws ProtocolError `frame_invalid` where the head is longer than the frame. */
export function decodeFullPayload(payload: Buffer): { head: string; body: Buffer } {
  const headBytes = payload.readUInt32BE(0)
  if (headBytes > payload.length - 4) throw frameInvalid(`a head of ${headBytes} bytes in a shorter frame`)
  return { head: payload.toString('latin1', 4, 4 + headBytes), body: payload.subarray(4 + headBytes) }
}

/** Breaks of the format after which no byte can be trusted: the connection ends. */
export function frameInvalid(what: string): ProtocolError {
  return new ProtocolError('frame_invalid', `The other end of the tunnel sent ${what}.`, {
    hint: 'Use the same version at both ends; if it stays, report it as a bug.',
  })
}

interface FrameShape {
  readonly bytesMin: number
  readonly bytesMax: number
  /** Whether it belongs to a stream; the others carry stream 0. */
  readonly onStream: boolean
}

const bytesMax = limits.frameBytesMax
const frameShapes: Readonly<Record<FrameType, FrameShape>> = {
  [frameTypes.head]: { bytesMin: 1, bytesMax, onStream: true },
  [frameTypes.data]: { bytesMin: 1, bytesMax, onStream: true },
  [frameTypes.end]: { bytesMin: 0, bytesMax, onStream: true },
  [frameTypes.reset]: { bytesMin: 1, bytesMax: 1, onStream: true },
  [frameTypes.window]: { bytesMin: 4, bytesMax: 4, onStream: true },
  [frameTypes.accept]: { bytesMin: 0, bytesMax: 0, onStream: true },
  [frameTypes.ping]: { bytesMin: 8, bytesMax: 8, onStream: false },
  [frameTypes.pong]: { bytesMin: 8, bytesMax: 8, onStream: false },
  [frameTypes.goaway]: { bytesMin: 0, bytesMax: 0, onStream: false },
  [frameTypes.continue]: { bytesMin: 0, bytesMax: 0, onStream: true },
  [frameTypes.full]: { bytesMin: 5, bytesMax, onStream: true },
  [frameTypes.moved]: { bytesMin: 0, bytesMax: 0, onStream: true },
  [frameTypes.more]: { bytesMin: 0, bytesMax: 0, onStream: false },
}

function checkHeader(type: FrameType, streamId: number, length: number): void {
  const shape = frameShapes[type]
  if (!shape) throw frameInvalid(`a frame of the unknown type ${type}`)
  if (length < shape.bytesMin || length > shape.bytesMax) {
    throw frameInvalid(`a frame of type ${type} with ${length} bytes`)
  }
  if ((streamId === 0) === shape.onStream) throw frameInvalid(`a frame of type ${type} on stream ${streamId}`)
}
