import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import {
  createFrameParser,
  decodeFullPayload,
  encodeFrame,
  encodeFrameHeader,
  encodeFullFrame,
  encodeHeadFrame,
  encodeWindowFrame,
  type FrameType,
  frameHeaderBytes,
  frameTypes,
} from './codec.ts'

interface Seen {
  readonly type: FrameType
  readonly streamId: number
  readonly payload: string
}

/** Data parts of one frame are joined, because how they are cut is not part of the format. */
function collect() {
  const seen: Seen[] = []
  const parser = createFrameParser({
    onFrame: (type, streamId, payload) =>
      void seen.push({ type, streamId, payload: payload.toString('hex') }),
    onData(streamId, part) {
      expect(part.length).toBeGreaterThan(0)
      const last = seen.at(-1)
      if (last?.type === frameTypes.data && last.streamId === streamId) {
        seen[seen.length - 1] = { ...last, payload: last.payload + part.toString('hex') }
      } else seen.push({ type: frameTypes.data, streamId, payload: part.toString('hex') })
    },
  })
  return { seen, parser }
}

const streamId = fc.integer({ min: 1, max: 0xffff_ffff })
const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array))
const frame: fc.Arbitrary<Buffer> = fc.oneof(
  fc.tuple(streamId, bytes(1, 300)).map(([id, payload]) => encodeFrame(frameTypes.data, id, payload)),
  fc.tuple(streamId, bytes(1, 300)).map(([id, head]) => encodeHeadFrame(id, head.toString('latin1'))),
  fc
    .tuple(streamId, bytes(1, 60), bytes(0, 300))
    .map(([id, head, body]) => encodeFullFrame(id, head.toString('latin1'), body)),
  streamId.map((id) => encodeFrame(frameTypes.end, id)),
  streamId.map((id) => encodeFrame(frameTypes.accept, id)),
  fc.tuple(streamId, bytes(1, 1)).map(([id, why]) => encodeFrame(frameTypes.reset, id, why)),
  fc.tuple(streamId, fc.nat()).map(([id, credit]) => encodeWindowFrame(id, credit)),
  bytes(8, 8).map((payload) => encodeFrame(frameTypes.ping, 0, payload)),
  fc.constant(encodeFrame(frameTypes.goaway, 0)),
)

/** Frames that follow each other are kept apart by an accept, so that joined data frames do not hide a loss. */
function separate(frames: readonly Buffer[]): Buffer {
  return Buffer.concat(frames.flatMap((one) => [one, encodeFrame(frameTypes.accept, 7)]))
}

describe('frames', () => {
  test('are the same however their bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 12 }),
        fc.array(fc.nat(40), { minLength: 1 }),
        (frames, cuts) => {
          const wire = separate(frames)
          const whole = collect()
          whole.parser.receive(wire)
          const cut = collect()
          for (let at = 0, turn = 0; at < wire.length; turn++) {
            const length = (cuts[turn % cuts.length] as number) + 1
            cut.parser.receive(wire.subarray(at, at + length))
            at += length
          }
          expect(cut.seen).toEqual(whole.seen)
          expect(whole.seen).toHaveLength(frames.length * 2)
          const described = whole.seen.filter((_, index) => index % 2 === 0)
          for (const [index, { type, streamId: id, payload }] of described.entries()) {
            const again = encodeFrame(type, id, Buffer.from(payload, 'hex'))
            expect(again.equals(frames[index] as Buffer)).toBe(true)
          }
        },
      ),
    )
  })

  test('any bytes are frames or a protocol error', () => {
    fc.assert(
      fc.property(fc.array(bytes(0, 60), { maxLength: 8 }), (chunks) => {
        const { parser } = collect()
        try {
          for (const chunk of chunks) parser.receive(chunk)
        } catch (error) {
          expect(isProtocolError(error) && error.code).toBe('frame_invalid')
        }
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['an unknown type', encodeFrameHeader(99 as FrameType, 1, 0)],
    ['type 0', encodeFrameHeader(0 as FrameType, 1, 0)],
    ['data beyond the largest frame', encodeFrameHeader(frameTypes.data, 1, limits.frameBytesMax + 1)],
    ['a head beyond the largest frame', encodeFrameHeader(frameTypes.head, 1, limits.frameBytesMax + 1)],
    ['empty data', encodeFrameHeader(frameTypes.data, 1, 0)],
    ['an end with too much behind it', encodeFrameHeader(frameTypes.end, 1, limits.frameBytesMax + 1)],
    ['a window without its number', encodeFrameHeader(frameTypes.window, 1, 3)],
    ['a move with a payload', encodeFrameHeader(frameTypes.moved, 1, 1)],
    ['a wish for more on a stream', encodeFrameHeader(frameTypes.more, 1, 0)],
    ['data on stream 0', encodeFrameHeader(frameTypes.data, 0, 5)],
    ['a ping on a stream', encodeFrameHeader(frameTypes.ping, 3, 8)],
  ])('%s is refused as soon as its header is there', (_, header) => {
    const { parser, seen } = collect()
    let thrown: unknown
    try {
      parser.receive(header)
    } catch (error) {
      thrown = error
    }
    expect(isProtocolError(thrown) && thrown.code).toBe('frame_invalid')
    expect(seen).toEqual([])
  })

  test('a full frame gives its head and body back', () => {
    const wire = encodeFullFrame(9, '["GET"]', Buffer.from('body'))
    const { head, body } = decodeFullPayload(wire.subarray(frameHeaderBytes))
    expect([head, body.toString()]).toEqual(['["GET"]', 'body'])
  })

  test('a full frame whose head is longer than itself is refused', () => {
    const wire = encodeFullFrame(9, '["GET"]')
    wire.writeUInt32BE(8, frameHeaderBytes)
    expect(() => decodeFullPayload(wire.subarray(frameHeaderBytes))).toThrow(/a head of 8 bytes/)
  })
})
