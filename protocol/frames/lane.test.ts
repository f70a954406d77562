import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createMuxPair,
  createRecorder,
  type MuxPair,
  type Recorder,
  writeAll,
} from '../../test/support/mux-pair.ts'
import { KiB, MiB } from '../base/bytes.ts'
import { encodeFrame, encodeHeadFrame, frameTypes } from './codec.ts'
import type { MuxStream, Stream, StreamHandler } from './mux-stream.ts'

/** Bytes that differ at every offset, so that nothing can be swapped unseen. */
function pattern(bytes: number, seed: number): Buffer {
  const body = Buffer.alloc(bytes)
  for (let index = 0; index < bytes; index++) body[index] = (index * 31 + (index >> 8) * 17 + seed) & 0xff
  return body
}

interface Setup {
  readonly onStream: (stream: MuxStream, head: string) => StreamHandler
  readonly cuts?: readonly number[]
  /** One way, on the connection of lanes. */
  readonly laneDelayMs?: number
}

/** A connection with requests, and one with nothing but lanes. */
function setup({ onStream, cuts = [], laneDelayMs = 2 }: Setup) {
  const large: Stream[] = []
  const line = { bytesPerMs: 50 * KiB, delayMs: 2, cuts }
  const requests = createMuxPair({ ...line, onStream, onLarge: (stream) => void large.push(stream) })
  const lanes: MuxPair = createMuxPair({
    ...line,
    delayMs: laneDelayMs,
    beside: requests,
    onStream(stream, head) {
      const moved = requests.provider.find(Number(head))
      let handler = createRecorder() as StreamHandler
      if (!moved?.isMovable) stream.reset('refused')
      else {
        stream.sendHead('lane')
        moved.moveTo((given) => {
          handler = given
          return stream
        })
      }
      return handler
    },
  })
  const move = (stream: Stream) => {
    if (stream.isMovable) stream.moveTo((handler) => lanes.gateway.open(handler, String(stream.id)))
  }
  return { requests, lanes, large, move }
}

/** The provider answers with so many bytes. */
const answering =
  (bytes: number, uploads: Recorder[] = []) =>
  (stream: MuxStream): StreamHandler => {
    let drain = () => {}
    const upload = createRecorder({ onDrain: () => drain() })
    uploads.push(upload)
    stream.accept()
    stream.sendHead('answer')
    drain = writeAll(stream, pattern(bytes, 1), 16 * KiB)
    return upload
  }

describe('a lane', () => {
  test('takes over at any moment without a wrong byte, with slow readers, aborts and cuts, and leaves nothing behind', async () => {
    const call = fc.record({
      up: fc.oneof(fc.nat(2_000), fc.nat(600 * KiB)),
      down: fc.oneof(fc.nat(2_000), fc.nat(600 * KiB)),
      pieceBytes: fc.integer({ min: 100, max: 100 * KiB }),
      pauseEvery: fc.integer({ min: 1, max: 30 }),
      headAtMs: fc.oneof(fc.constant(0), fc.nat(40)),
      moveAtMs: fc.nat(40),
      abort: fc.constantFrom('no', 'no', 'no', 'gateway', 'provider'),
      abortAtMs: fc.nat(50),
    })
    let moves = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 50_000 }), { maxLength: 4 }).map((cuts) => [...cuts, 30_000]),
        fc.nat(30),
        async (calls, cuts, laneDelayMs) => {
          const uploads = new Map<string, Recorder>()
          const slow = (of: () => MuxStream, every: number) => {
            let parts = 0
            return () => {
              if (++parts % every !== 0) return
              of().pause()
              at.requests.at(3, () => of().resume())
            }
          }
          const at = setup({
            cuts,
            laneDelayMs,
            onStream(stream, head) {
              const { down, pieceBytes, pauseEvery, headAtMs, abort, abortAtMs } = calls[
                Number(head)
              ] as (typeof calls)[number]
              stream.accept()
              let drain = () => {}
              const upload = createRecorder({
                onDrain: () => drain(),
                onData: slow(() => stream, pauseEvery),
              })
              uploads.set(head, upload)
              const answer = () => {
                // An answer that is whole when its head goes is one frame, unless its stream has moved by then.
                if (pieceBytes >= down) stream.sendWhole(`answer ${head}`, pattern(down, Number(head)))
                else {
                  stream.sendHead(`answer ${head}`)
                  drain = writeAll(stream, pattern(down, Number(head)), pieceBytes)
                }
              }
              if (headAtMs === 0) answer()
              else at.requests.at(headAtMs, answer)
              if (abort === 'provider') at.requests.at(abortAtMs, () => stream.reset('cancelled'))
              return upload
            },
          })
          const downloads = calls.map(({ up, pieceBytes, pauseEvery, moveAtMs, abort, abortAtMs }, index) => {
            let drain = () => {}
            const download = createRecorder({
              onDrain: () => drain(),
              onData: slow(() => stream, pauseEvery),
            })
            const stream = at.requests.gateway.open(download, String(index)) as Stream
            drain = writeAll(stream, pattern(up, index + 100), pieceBytes)
            at.requests.at(moveAtMs, () => {
              if (stream.isMovable) moves++
              at.move(stream)
            })
            if (abort === 'gateway') at.requests.at(abortAtMs, () => stream.reset('cancelled'))
            return download
          })
          await at.requests.run()
          for (const [index, { up, down, abort }] of calls.entries()) {
            const download = downloads[index] as Recorder
            const upload = uploads.get(String(index))
            const whole = Buffer.concat(download.body)
            expect(whole.equals(pattern(down, index).subarray(0, whole.length))).toBe(true)
            const wholeUp = Buffer.concat(upload?.body ?? [])
            expect(wholeUp.equals(pattern(up, index + 100).subarray(0, wholeUp.length))).toBe(true)
            if (abort !== 'no') continue
            expect([download.isEnded, upload?.isEnded, download.reset]).toEqual([true, true, undefined])
            expect([whole.length, wholeUp.length]).toEqual([down, up])
          }
          const muxes = [at.requests.gateway, at.requests.provider, at.lanes.gateway, at.lanes.provider]
          expect(muxes.map(({ streams }) => streams)).toEqual([0, 0, 0, 0])
        },
      ),
      { numRuns: 60 },
    )
    expect(moves).toBeGreaterThan(20)
  })

  test('is offered to a stream that has carried a mebibyte, once, and to no smaller one', async () => {
    const at = setup({ onStream: (stream, head) => answering(Number(head))(stream) })
    at.requests.gateway.openWhole(createRecorder(), String(MiB / 2))
    at.requests.gateway.openWhole(createRecorder(), String(3 * MiB))
    await at.requests.run()
    expect(at.large.map(({ id }) => id)).toEqual([2])
  })

  test('that carries a large body leaves the other connection to the small ones', async () => {
    const at = setup({ onStream: answering(2 * MiB) })
    const download = createRecorder()
    const stream = at.requests.gateway.openWhole(download, 'x') as Stream
    at.requests.at(10, () => at.move(stream))
    await at.requests.run()
    expect([download.bytes, download.isEnded]).toEqual([2 * MiB, true])
    expect(at.lanes.wires.toGateway.bufferedBytesPeak).toBeGreaterThan(100 * KiB)
  })

  test('that is lost ends its stream as lost, at both ends, and no other', async () => {
    const uploads: Recorder[] = []
    const at = setup({ onStream: answering(4 * MiB, uploads) })
    const moved = createRecorder()
    const other = createRecorder()
    const stream = at.requests.gateway.open(moved, 'x') as Stream
    at.requests.gateway.openWhole(other, 'x')
    at.requests.at(10, () => at.move(stream))
    at.requests.at(40, () => at.lanes.cut())
    await at.requests.run()
    expect([moved.isLost, moved.isEnded, other.isEnded, other.bytes]).toEqual([true, false, true, 4 * MiB])
    // Nobody's doing, so that nobody pays for it: not what a caller who leaves would have said.
    expect([uploads[0]?.isLost || uploads[0]?.reset === 'lane_lost', uploads[1]?.isEnded]).toEqual([
      true,
      true,
    ])
  })

  test.each(['timed_out', 'cancelled'] as const)(
    'passes on why its stream was broken off: %s',
    async (reason) => {
      const uploads: Recorder[] = []
      const at = setup({ onStream: answering(8 * MiB, uploads), laneDelayMs: 0 })
      const stream = at.requests.gateway.open(createRecorder(), 'x') as Stream
      at.requests.at(10, () => at.move(stream))
      at.requests.at(40, () => stream.reset(reason))
      await at.requests.run()
      expect(uploads[0]?.reset).toBe(reason)
    },
  )

  test('that nobody opened, or that is opened twice, breaks the rules', async () => {
    const at = setup({ onStream: () => createRecorder() })
    const seen = createRecorder()
    const stream = at.requests.gateway.open(seen, 'x')
    at.requests.gateway.receive(encodeHeadFrame(stream.id, 'answer'))
    at.requests.gateway.receive(encodeFrame(frameTypes.moved, stream.id))
    expect(seen.reset).toBe('flow_broken')
    const uploads: Recorder[] = []
    const peer = createMuxPair({ onStream: answering(0, uploads) })
    peer.provider.receive(encodeHeadFrame(1, 'x'))
    peer.provider.receive(encodeFrame(frameTypes.moved, 1))
    expect(uploads[0]?.reset).toBe(undefined)
    peer.provider.receive(encodeFrame(frameTypes.moved, 1))
    expect(uploads[0]?.reset).toBe('flow_broken')
  })
})
