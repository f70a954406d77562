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
export function createFrameParser(sink: FrameSink): FrameParser {
  const header = Buffer.alloc(frameHeaderBytes)
  let headerBytes = 0
  let type: FrameType = frameTypes.data
  let streamId = 0
  let dataBytesLeft = 0
  let payload: Buffer | undefined
  let payloadBytes = 0

  const readHeader = (bytes: Buffer, at: number): number => {
    type = bytes[at] as FrameType
    streamId = bytes.readUInt32BE(at + 1)
    const length = bytes.readUInt32BE(at + 5)
    checkHeader(type, streamId, length)
    return length
  }

  /** @returns how many bytes of `chunk` from `at` belong to the frame whose header was just read. */
  const startPayload = (length: number, chunk: Buffer, at: number): number => {
    if (type === frameTypes.data) {
      dataBytesLeft = length
      return 0
    }
    if (chunk.length - at >= length) {
      sink.onFrame(type, streamId, chunk.subarray(at, at + length))
      return length
    }
    payload = Buffer.allocUnsafeSlow(length)
    payloadBytes = chunk.copy(payload, 0, at)
    return payloadBytes
  }

  const continuePayload = (whole: Buffer, chunk: Buffer, at: number): number => {
    const taken = chunk.copy(whole, payloadBytes, at)
    payloadBytes += taken
    if (payloadBytes === whole.length) {
      payload = undefined
      sink.onFrame(type, streamId, whole)
    }
    return taken
  }

  const continueData = (chunk: Buffer, at: number): number => {
    const taken = Math.min(dataBytesLeft, chunk.length - at)
    dataBytesLeft -= taken
    sink.onData(streamId, taken === chunk.length ? chunk : chunk.subarray(at, at + taken))
    return taken
  }

  const continueHeader = (chunk: Buffer, at: number): number => {
    if (headerBytes === 0 && chunk.length - at >= frameHeaderBytes) {
      const length = readHeader(chunk, at)
      return frameHeaderBytes + startPayload(length, chunk, at + frameHeaderBytes)
    }
    const taken = chunk.copy(header, headerBytes, at)
    headerBytes += taken
    if (headerBytes < frameHeaderBytes) return taken
    headerBytes = 0
    return taken + startPayload(readHeader(header, 0), chunk, at + taken)
  }

  return {
    receive(chunk) {
      let at = 0
      while (at < chunk.length) {
        if (dataBytesLeft > 0) at += continueData(chunk, at)
        else if (payload) at += continuePayload(payload, chunk, at)
        else at += continueHeader(chunk, at)
      }
    },
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
