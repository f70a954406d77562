import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createMuxPair, createRecorder, type Recorder, writeAll } from '../../test/support/mux-pair.ts'
import { KiB, MiB } from '../base/bytes.ts'
import { limits } from '../limits.ts'
import { encodeFrame, encodeFullFrame, encodeHeadFrame, encodeWindowFrame, frameTypes } from './codec.ts'
import type { Mux } from './mux.ts'
import type { MuxStream } from './mux-stream.ts'

/** Bytes that differ at every offset, so that nothing can be swapped unseen. */
function pattern(bytes: number, seed: number): Buffer {
  const body = Buffer.alloc(bytes)
  for (let index = 0; index < bytes; index++) body[index] = (index * 31 + (index >> 8) * 17 + seed) & 0xff
  return body
}

/** A stalled reader: takes nothing until it is resumed. */
function openStalled(mux: Mux, head: string): { stream: MuxStream; seen: Recorder } {
  const seen = createRecorder()
  const stream = mux.openWhole(seen, head)
  stream.pause()
  return { stream, seen }
}

/** The provider answers every request with so many bytes, written as fast as it is let. */
function answering(bytes: number, writers: { written: number }[] = []) {
  return (stream: MuxStream) => {
    const writer = { written: 0 }
    writers.push(writer)
    const chunk = Buffer.alloc(16 * KiB, 1)
    const proceed = () => {
      while (writer.written < bytes) {
        const piece = chunk.subarray(0, Math.min(chunk.length, bytes - writer.written))
        writer.written += piece.length
        if (!stream.write(piece)) return
      }
      stream.end()
    }
    stream.accept()
    stream.sendHead('answer')
    proceed()
    return createRecorder({ onDrain: proceed })
  }
}

describe('a mux', () => {
  test('carries any mix of bodies both ways, cut anywhere, with slow readers and aborts, without a wrong byte', async () => {
    const call = fc.record({
      up: fc.oneof(fc.nat(2_000), fc.nat(400 * KiB)),
      down: fc.oneof(fc.nat(2_000), fc.nat(400 * KiB)),
      pieceBytes: fc.integer({ min: 100, max: 100 * KiB }),
      pauseEvery: fc.integer({ min: 1, max: 30 }),
      abort: fc.constantFrom('no', 'no', 'no', 'gateway', 'provider'),
      startMs: fc.nat(20),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { minLength: 1, maxLength: 10 }),
        // Small pieces, but not of everything: a million single bytes prove nothing more.
        fc.array(fc.integer({ min: 1, max: 50_000 }), { maxLength: 5 }).map((cuts) => [...cuts, 30_000]),
        async (calls, cuts) => {
          const uploads = new Map<string, Recorder>()
          const pair = createMuxPair({
            cuts,
            bytesPerMs: 50 * KiB,
            delayMs: 2,
            onStream(stream, head) {
              const { down, pieceBytes, abort } = calls[Number(head)] as (typeof calls)[number]
              stream.accept()
              let drain = () => {}
              const upload = createRecorder({ onDrain: () => drain() })
              uploads.set(head, upload)
              stream.sendHead(`answer ${head}`)
              drain = writeAll(stream, pattern(down, Number(head)), pieceBytes)
              if (abort === 'provider') pair.at(7, () => stream.reset('cancelled'))
              return upload
            },
          })
          const downloads = calls.map(({ up, pieceBytes, pauseEvery, abort, startMs }, index) => {
            let drain = () => {}
            let parts = 0
            const download = createRecorder({
              onDrain: () => drain(),
              onData() {
                if (++parts % pauseEvery !== 0) return
                stream.pause()
                pair.at(3, () => stream.resume())
              },
            })
            let stream: MuxStream
            pair.at(startMs, () => {
              stream = pair.gateway.open(download, String(index))
              drain = writeAll(stream, pattern(up, index + 100), pieceBytes)
              if (abort === 'gateway') pair.at(6, () => stream.reset('cancelled'))
            })
            return download
          })
          await pair.run()
          for (const [index, { up, down, abort }] of calls.entries()) {
            const download = downloads[index] as Recorder
            const upload = uploads.get(String(index))
            if (!upload) {
              // Given up before its head could leave, so the provider never heard of it.
              expect(abort).toBe('gateway')
              continue
            }
            const whole = Buffer.concat(download.body)
            const wholeUp = Buffer.concat(upload.body)
            expect(whole.equals(pattern(down, index).subarray(0, whole.length))).toBe(true)
            expect(wholeUp.equals(pattern(up, index + 100).subarray(0, wholeUp.length))).toBe(true)
            if (abort !== 'no') continue
            expect([download.isAccepted, download.isEnded, upload.isEnded]).toEqual([true, true, true])
            expect([whole.length, wholeUp.length]).toEqual([down, up])
          }
          expect([pair.gateway.streams, pair.provider.streams]).toEqual([0, 0])
        },
      ),
      { numRuns: 30 },
    )
  })

  test('a reader that stalls does not slow the others down', async () => {
    const pair = createMuxPair({
      onStream: (stream, head) => answering(Number(head))(stream),
      bytesPerMs: 1 * MiB,
    })
    for (let index = 0; index < 20; index++) openStalled(pair.gateway, String(8 * MiB))
    await pair.run()
    const others = Array.from({ length: 50 }, () => {
      const seen = createRecorder()
      pair.gateway.openWhole(seen, String(100 * KiB))
      return seen
    })
    const startMs = pair.nowMs()
    await pair.run()
    expect(others.every((seen) => seen.isEnded && seen.bytes === 100 * KiB)).toBe(true)
    expect(pair.nowMs() - startMs).toBeLessThan(10)
  })

  test('a large body shares the connection fairly with small ones', async () => {
    const pair = createMuxPair({
      onStream: (stream, head) => answering(Number(head))(stream),
      bytesPerMs: 10 * KiB,
    })
    const large = createRecorder()
    pair.gateway.openWhole(large, String(4 * MiB))
    let largeBytesThen = 0
    const small = createRecorder({ onEnd: () => (largeBytesThen = large.bytes) })
    pair.at(20, () => pair.gateway.openWhole(small, String(64 * KiB)))
    await pair.run()
    expect([small.isEnded, large.isEnded]).toEqual([true, true])
    // What stood in the transport's buffer, and a slice for each of its own.
    expect(largeBytesThen).toBeLessThan(20 * 10 * KiB + limits.tunnelBufferBytesMax + 4 * 64 * KiB)
  })

  test('large bodies take turns, a slice at a time', async () => {
    const order: string[] = []
    const pair = createMuxPair({
      onStream(stream, head) {
        stream.accept()
        return createRecorder({ onData: () => order.push(head) })
      },
    })
    for (const head of ['a', 'b', 'c']) {
      const stream = pair.gateway.open(createRecorder(), head)
      stream.write(Buffer.alloc(3 * limits.tunnelSliceBytesMax))
      stream.end()
    }
    await pair.run()
    expect(order.filter((head, index) => head !== order[index - 1]).join('')).toBe('abcabcabc')
  })

  test('stalled readers make nobody hold more than their windows', async () => {
    const writers: { written: number }[] = []
    const pair = createMuxPair({ onStream: answering(512 * MiB, writers) })
    const stalled = Array.from({ length: 40 }, () => openStalled(pair.gateway, 'x'))
    await pair.run()
    expect(writers).toHaveLength(40)
    for (const { written } of writers) {
      expect(written).toBeLessThanOrEqual(limits.streamWindowBytesMin + limits.streamQueueBytesMax + 16 * KiB)
    }
    for (const { stream } of stalled) stream.reset('cancelled')
    await pair.run()
    expect([pair.gateway.streams, pair.provider.streams]).toEqual([0, 0])
  })

  test('a transport that is full gets no more', async () => {
    const pair = createMuxPair({ onStream: answering(200 * KiB) })
    pair.wires.toGateway.isStuck = true
    for (let index = 0; index < 100; index++) pair.gateway.openWhole(createRecorder(), 'x')
    await pair.run()
    const slack = limits.tunnelBatchBytesMax + limits.tunnelSliceBytesMax
    expect(pair.wires.toGateway.bufferedBytesPeak).toBeGreaterThanOrEqual(limits.tunnelBufferBytesMax)
    expect(pair.wires.toGateway.bufferedBytesPeak).toBeLessThanOrEqual(limits.tunnelBufferBytesMax + slack)
  })

  test('cancelling reaches the provider, and frees the stream at both ends', async () => {
    const uploads: Recorder[] = []
    const pair = createMuxPair({
      onStream(stream) {
        stream.accept()
        const upload = createRecorder()
        uploads.push(upload)
        return upload
      },
    })
    const seen = createRecorder()
    const stream = pair.gateway.openWhole(seen, 'x')
    await pair.run()
    stream.reset('cancelled')
    await pair.run()
    expect(uploads.map((upload) => upload.reset)).toEqual(['cancelled'])
    expect([pair.gateway.streams, pair.provider.streams]).toEqual([0, 0])
    expect([seen.reset, seen.isEnded, seen.isLost]).toEqual([undefined, false, false])
  })

  test('a provider that breaks off is heard at once, in the middle of a body', async () => {
    const pair = createMuxPair({
      onStream(stream) {
        stream.sendHead('answer')
        stream.write(Buffer.alloc(1 * MiB))
        pair.at(1, () => stream.reset('cancelled'))
        return createRecorder()
      },
    })
    const seen = createRecorder()
    pair.gateway.openWhole(seen, 'x')
    await pair.run()
    expect([seen.head, seen.reset, seen.isEnded]).toEqual(['answer', 'cancelled', false])
    expect(pair.gateway.streams).toBe(0)
  })

  test('a request that is cancelled before it left is never seen by the provider', async () => {
    const heads: string[] = []
    const pair = createMuxPair({
      onStream(stream, head) {
        heads.push(head)
        stream.sendWhole('answer')
        return createRecorder()
      },
    })
    const early = pair.gateway.openWhole(createRecorder(), 'early')
    const kept = pair.gateway.openWhole(createRecorder(), 'kept')
    expect([early.isHandedOver, kept.isHandedOver]).toEqual([false, false])
    early.reset('cancelled')
    await pair.run()
    expect(heads).toEqual(['kept'])
    expect([early.isHandedOver, kept.isHandedOver]).toEqual([false, true])
    expect(pair.gateway.streams).toBe(0)
  })

  test('a lost connection is told to every stream, on both sides, and to nobody else', async () => {
    const uploads: Recorder[] = []
    const pair = createMuxPair({
      onStream(stream, head) {
        stream.accept()
        if (head === 'quick') stream.sendWhole('answer')
        const upload = createRecorder()
        uploads.push(upload)
        return upload
      },
    })
    const quick = createRecorder()
    pair.gateway.openWhole(quick, 'quick')
    const slow = createRecorder()
    pair.gateway.openWhole(slow, 'slow')
    await pair.run()
    pair.cut()
    const late = createRecorder()
    pair.gateway.openWhole(late, 'late')
    await pair.run()
    expect([quick.isLost, slow.isLost, late.isLost]).toEqual([false, true, true])
    expect(uploads.map((upload) => upload.isLost)).toEqual([false, true])
    expect([pair.gateway.streams, pair.provider.streams]).toEqual([0, 0])
  })

  test('an answer that had arrived whole is delivered, even if the connection goes before its reader is ready', async () => {
    const pair = createMuxPair({ onStream: answering(100 * KiB) })
    const { stream, seen } = openStalled(pair.gateway, 'x')
    await pair.run()
    pair.cut()
    stream.resume()
    expect([seen.isLost, seen.isEnded, seen.bytes]).toEqual([false, true, 100 * KiB])
    expect(pair.gateway.streams).toBe(0)
  })

  test('a ping measures the round trip, and is only dead when it is not answered', async () => {
    const pair = createMuxPair({ delayMs: 25 })
    pair.gateway.ping()
    expect(pair.gateway.pingsUnanswered).toBe(1)
    await pair.run()
    expect([pair.gateway.rttMs, pair.gateway.pingsUnanswered]).toEqual([50, 0])
    pair.cut()
    pair.gateway.ping()
    pair.gateway.ping()
    await pair.run()
    expect(pair.gateway.pingsUnanswered).toBe(2)
  })

  test('says that a request was taken by its answer, and apart from that only where the answer takes its time', async () => {
    const pair = createMuxPair({
      onStream(stream, head) {
        stream.accept()
        if (head === 'quick') stream.sendWhole('answer')
        else pair.at(10, () => stream.sendWhole('answer'))
        return createRecorder()
      },
    })
    const takenAtMs: number[] = []
    const onAccept = () => takenAtMs.push(pair.nowMs())
    const answer = encodeFullFrame(1, 'answer').length
    pair.gateway.openWhole(createRecorder({ onAccept }), 'quick')
    await pair.run()
    expect(pair.wires.toGateway.bufferedBytesPeak).toBe(answer)
    const startMs = pair.nowMs()
    pair.gateway.openWhole(createRecorder({ onAccept }), 'slow')
    await pair.run()
    expect(takenAtMs).toHaveLength(2)
    expect((takenAtMs[1] ?? 0) - startMs).toBeLessThan(10)
  })

  test('leaving is announced', async () => {
    let isLeaving = false
    const pair = createMuxPair({ onGoaway: () => (isLeaving = true) })
    pair.provider.goaway()
    await pair.run()
    expect(isLeaving).toBe(true)
  })
})

describe('windows', () => {
  /** Downloads so many bytes over a line with 25 ms each way. @returns the virtual time that it took. */
  async function download(bytes: number, { isPinged }: { isPinged: boolean }): Promise<number> {
    const pair = createMuxPair({ onStream: answering(bytes), delayMs: 25, bytesPerMs: 400 * KiB })
    if (isPinged) {
      pair.gateway.ping()
      await pair.run()
    }
    const startMs = pair.nowMs()
    let received = 0
    pair.gateway.openWhole({ ...createRecorder(), onData: (chunk) => (received += chunk.length) }, 'x')
    await pair.run()
    expect(received).toBe(bytes)
    return pair.nowMs() - startMs
  }

  test('grow where the line is long and the reader is fast, up to the speed of the line', async () => {
    const bytes = 256 * MiB
    const tunedMs = await download(bytes, { isPinged: true })
    // 400 KiB/ms would take 655 ms; a window of 256 KiB for each 50 ms takes 51 s.
    expect(tunedMs).toBeLessThan(2_000)
  })

  test('grow no further than a short way needs before the round trip is known', async () => {
    const nearMs = await download(32 * MiB, { isPinged: false })
    expect(nearMs).toBeGreaterThan((32 * MiB * 50) / (limits.streamWindowBytesNear * 2))
  })
})

describe('a hostile peer', () => {
  /** A mux of the gateway's side whose peer is written by hand. */
  function setup() {
    const pair = createMuxPair({ onInvalid: () => invalid.push('invalid') })
    const invalid: string[] = []
    const seen = createRecorder()
    const stream = pair.gateway.open(seen, 'x')
    const other = createRecorder()
    pair.gateway.open(other, 'y')
    return {
      pair,
      invalid,
      seen,
      stream,
      other,
      feed: (...frames: Buffer[]) => pair.gateway.receive(Buffer.concat(frames)),
    }
  }
  const data = (bytes: number, streamId = 1) => encodeFrame(frameTypes.data, streamId, Buffer.alloc(bytes))

  test('that sends more than it was allowed loses that stream and no other', async () => {
    const { seen, other, stream, feed, invalid } = setup()
    stream.pause()
    feed(encodeHeadFrame(1, 'h'))
    for (let sent = 0; sent < limits.streamWindowBytesMin; sent += 64 * KiB) feed(data(64 * KiB))
    expect(seen.reset).toBe(undefined)
    feed(data(1))
    expect(seen.reset).toBe('flow_broken')
    feed(encodeFullFrame(2, 'h', Buffer.from('fine')))
    expect([other.isEnded, other.bytes, invalid]).toEqual([true, 4, []])
  })

  test.each([
    ['data before the head', [data(1)]],
    ['an end before the head', [encodeFrame(frameTypes.end, 1)]],
    ['a second head', [encodeHeadFrame(1, 'h'), encodeHeadFrame(1, 'h')]],
    ['credit of nothing', [encodeWindowFrame(1, 0)]],
    ['credit beyond measure', [encodeWindowFrame(1, 0xffff_ffff)]],
  ])('that sends %s loses that stream and no other', (_, frames) => {
    const { seen, other, feed, invalid } = setup()
    feed(...frames)
    expect([seen.reset, invalid]).toEqual(['flow_broken', []])
    feed(encodeFullFrame(2, 'h'))
    expect(other.isEnded).toBe(true)
  })

  test('that speaks of streams nobody opened is ignored', () => {
    const { pair, invalid, feed } = setup()
    feed(encodeHeadFrame(99, 'h'), data(10, 99), encodeFrame(frameTypes.end, 99), encodeWindowFrame(99, 5))
    expect([pair.gateway.streams, invalid]).toEqual([2, []])
  })

  test('that sends what is no frame loses the connection', () => {
    const { pair, invalid, seen, feed } = setup()
    feed(Buffer.alloc(9, 0xff))
    expect([invalid, seen.isLost, pair.wires.toProvider.isDestroyed]).toEqual([['invalid'], true, true])
    feed(encodeFullFrame(2, 'h'))
    expect(pair.gateway.streams).toBe(0)
  })

  test('that stalls all that it may send on many streams loses those beyond what is held in all', () => {
    const { pair, invalid } = setup()
    const chunk = Buffer.alloc(64 * KiB)
    const frame = Buffer.concat([Buffer.alloc(9), chunk])
    const fill = (streamId: number) => {
      for (let sent = 0; sent < limits.streamWindowBytesMin; sent += chunk.length) {
        encodeFrame(frameTypes.data, streamId, chunk).copy(frame)
        pair.gateway.receive(frame)
      }
    }
    const streams = limits.tunnelQueuedBytesMax / limits.streamWindowBytesMin
    const stalled = Array.from({ length: streams + 1 }, (_, n) => {
      const { seen } = openStalled(pair.gateway, 'x')
      pair.gateway.receive(encodeHeadFrame(3 + n, 'h'))
      fill(3 + n)
      return seen.reset
    })
    expect(stalled.slice(0, -1).every((reset) => reset === undefined)).toBe(true)
    expect([stalled.at(-1), invalid]).toEqual(['overloaded', []])
  })

  test('that answers pings which nobody sent, or one twice, says nothing about the line', async () => {
    const { pair, feed } = setup()
    const pong = (number: number) => {
      const payload = Buffer.alloc(8)
      payload.writeUInt32BE(number, 4)
      return encodeFrame(frameTypes.pong, 0, payload)
    }
    feed(pong(0), pong(1))
    expect(pair.gateway.rttMs).toBe(undefined)
    pair.wires.toProvider.isStuck = true
    pair.gateway.ping()
    feed(pong(2))
    expect([pair.gateway.rttMs, pair.gateway.pingsUnanswered]).toEqual([undefined, 1])
    feed(pong(1))
    expect([pair.gateway.rttMs, pair.gateway.pingsUnanswered]).toEqual([0, 0])
    pair.at(1_000, () => feed(pong(1)))
    await pair.run()
    expect(pair.gateway.rttMs).toBe(0)
  })

  test('that takes a request twice, or after its answer has begun, is heard once', () => {
    const { pair, feed } = setup()
    let taken = 0
    pair.gateway.open(createRecorder({ onAccept: () => taken++ }), 'z')
    const accept = encodeFrame(frameTypes.accept, 3)
    feed(accept, accept, encodeHeadFrame(3, 'h'), accept)
    expect(taken).toBe(1)
  })

  test('that sends little in a large message does not have all of that kept', () => {
    const { seen, other, feed } = setup()
    feed(encodeHeadFrame(1, 'h'), data(100), encodeFullFrame(2, 'h', Buffer.alloc(100)), data(60 * KiB))
    const [small, large] = seen.body
    expect([small?.length, small?.buffer.byteLength]).toEqual([100, 100])
    expect(other.body[0]?.buffer.byteLength).toBe(100)
    // Copying what is most of it would cost more than it saves.
    expect(large?.buffer.byteLength).toBeGreaterThan(60 * KiB)
  })

  test('that floods us with pings and reads nothing makes one pong', async () => {
    const { pair, invalid } = setup()
    pair.wires.toProvider.isStuck = true
    for (let index = 0; index < 100_000; index++) {
      pair.gateway.receive(encodeFrame(frameTypes.ping, 0, Buffer.alloc(8)))
    }
    await pair.run()
    expect(invalid).toEqual([])
    expect(pair.wires.toProvider.bufferedBytesPeak).toBeLessThan(200)
  })

  test('that opens too many streams is refused the last ones; that opens and reads nothing is dropped', async () => {
    let opened = 0
    const invalid: string[] = []
    const pair = createMuxPair({
      onInvalid: (side) => invalid.push(side),
      onStream(stream) {
        opened++
        stream.accept()
        return createRecorder()
      },
    })
    pair.wires.toGateway.isStuck = true
    for (let id = 1; id <= limits.streamsPerTunnelMax + 10; id++)
      pair.provider.receive(encodeFullFrame(id, 'x'))
    await pair.run()
    expect([opened, pair.provider.streams]).toEqual([limits.streamsPerTunnelMax, limits.streamsPerTunnelMax])
    for (let id = 2000; invalid.length === 0 && id < 200_000; id++) {
      pair.provider.receive(encodeFullFrame(id, 'x'))
    }
    expect(invalid).toEqual(['provider'])
    expect(pair.provider.streams).toBe(0)
  })

  test('that uses a stream number again loses the connection, so that the last number says what was taken', () => {
    const invalid: string[] = []
    const pair = createMuxPair({
      onInvalid: (side) => invalid.push(side),
      onStream: (stream) => {
        stream.sendWhole('answer')
        return createRecorder()
      },
    })
    pair.provider.receive(encodeFullFrame(5, 'x'))
    expect(pair.provider.lastPeerStreamId).toBe(5)
    pair.provider.receive(encodeFullFrame(4, 'x'))
    expect(invalid).toEqual(['provider'])
  })

  test('that sends anything at all never breaks us otherwise', async () => {
    const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))
    const frame = fc
      .tuple(fc.integer({ min: 1, max: 10 }), fc.nat(4), bytes(12))
      .map(([type, id, payload]) => encodeFrame(type as 1, id, payload))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(frame, bytes(30)), { maxLength: 20 }), async (chunks) => {
        const { pair, stream } = setup()
        stream.pause()
        for (const chunk of chunks) {
          pair.gateway.receive(chunk)
          pair.provider.receive(chunk)
        }
        stream.resume()
        await pair.run()
      }),
      { numRuns: 300 },
    )
  })
})
