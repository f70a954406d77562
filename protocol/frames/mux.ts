import type { Clock } from '../base/clock.ts'
import { createYoungCollector } from '../base/collect-young.ts'
import { isProtocolError, type ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import {
  createFrameParser,
  decodeFullPayload,
  encodeFrame,
  type FrameType,
  frameInvalid,
  frameTypes,
} from './codec.ts'
import { type MuxStream, Stream, type StreamHandler, type StreamHost } from './mux-stream.ts'
import { createWindowBudget } from './receive-window.ts'
import { resetCodes, toResetReason } from './reset-code.ts'

/** Whatever carries the bytes: a WebSocket, or a pipe in tests. */
export interface MuxTransport {
  /** Takes the parts in order. @param onSent - Called once they have left this process. */
  send(parts: readonly Buffer[], bytes: number, onSent: () => void): void
  /** What has been taken and has not left. */
  bufferedBytes(): number
  /** Ends the connection now. */
  destroy(): void
}

export interface MuxOptions {
  readonly transport: MuxTransport
  readonly clock: Pick<Clock, 'monotonicMs'>
  /**
   * Takes a stream that the peer opened; its body comes next. Absent on the side that opens streams (the gateway),
   * where a head on an unknown stream is ignored.
   */
  readonly onStream?: (stream: MuxStream, head: string) => StreamHandler
  /** The peer will leave soon. */
  readonly onGoaway?: () => void
  /** A stream has become large, and may get a lane: `moveTo`. */
  readonly onLarge?: (stream: Stream) => void
  /** The gateway has use for one more connection. */
  readonly onMore?: () => void
  /** The last stream is over. */
  readonly onIdle?: () => void
  /** The peer broke the format; the transport has been destroyed. */
  readonly onInvalid?: (error: ProtocolError) => void
  /** When to send what one turn of the event loop has gathered. */
  readonly schedule?: (flush: () => void) => void
}

/** Many streams over one connection. It does no I/O itself. */
export interface Mux {
  /** Takes the next bytes from the transport, cut anywhere. */
  receive(chunk: Buffer): void
  /** Begins a stream with a head; the body follows. */
  open(handler: StreamHandler, head: string): MuxStream
  /** Begins a stream with a request that is whole already. */
  openWhole(handler: StreamHandler, head: string, body?: Buffer): MuxStream
  /** Streams that are not over. */
  readonly streams: number
  /** The last stream that the peer opened; 0 before the first. */
  readonly lastPeerStreamId: number
  /** A smoothed round trip, once a ping was answered. */
  readonly rttMs: number | undefined
  ping(): void
  /** When the last bytes came, or since when it has been there. Monotonic. */
  readonly heardAtMs: number
  /** Pings in a row that the peer has not answered. */
  readonly pingsUnanswered: number
  /** Says that this side will leave soon. */
  goaway(): void
  /** Asks the provider for one more connection. */
  more(): void
  /** A stream that is not over. */
  find(streamId: number): Stream | undefined
  /** The transport has gone: every stream is lost. */
  close(): void
}

/**
 * Multiplexes streams: control frames first, then data in fair slices, gathered into one message per turn of the
 * event loop; it stops while the transport is full. All that a peer can make it hold is bounded: streams, windows,
 * held bytes and waiting control frames.
 */
export function createMux(options: MuxOptions): Mux {
  const { transport, clock, onStream } = options
  const schedule = options.schedule ?? setImmediate
  const streams = new Map<number, Stream>()
  const budget = createWindowBudget(limits.tunnelWindowBytesMax)
  const notePassed = createYoungCollector()
  let control: Buffer[] = []
  let ready: Stream[] = []
  let isScheduled = false
  let isWaiting = false
  let isClosed = false
  let heldBytes = 0
  let nextStreamId = 1
  let lastPeerStreamId = 0
  let rttMs: number | undefined
  let pings = 0
  let pingSentMs = 0
  let pingsUnanswered = 0
  let heardAtMs = clock.monotonicMs()
  let pongOwed: Buffer | undefined

  const host: StreamHost = {
    windowBudget: budget,
    get rttMs() {
      return rttMs
    },
    nowMs: () => clock.monotonicMs(),
    sendControl(frame) {
      control.push(frame)
      if (control.length > limits.tunnelControlFramesMax) fail(frameInvalid('much and reads nothing'))
      else wake()
    },
    withdraw(streamId) {
      control = control.filter((frame) => frame.readUInt32BE(1) !== streamId)
    },
    markReady(stream) {
      if (!stream.isMarked) {
        stream.isMarked = true
        ready.push(stream)
      }
      wake()
    },
    noteLarge: (stream) => options.onLarge?.(stream),
    holdBytes(bytes) {
      heldBytes += bytes
      return heldBytes <= limits.tunnelQueuedBytesMax
    },
    forget(stream) {
      if (streams.delete(stream.id) && streams.size === 0) options.onIdle?.()
    },
  }

  function wake(): void {
    if (isScheduled || isWaiting || isClosed) return
    isScheduled = true
    schedule(flush)
  }

  function flush(): void {
    isScheduled = false
    while (!isClosed) {
      if (transport.bufferedBytes() >= limits.tunnelBufferBytesMax) {
        isWaiting = true
        return
      }
      const parts: Buffer[] = []
      let bytes = takeControl(parts)
      bytes += takeData(parts, limits.tunnelBatchBytesMax - bytes)
      if (bytes === 0) return
      transport.send(parts, bytes, onSent)
      notePassed(bytes)
    }
  }

  function onSent(): void {
    if (!isWaiting || transport.bufferedBytes() >= limits.tunnelBufferBytesMax / 2) return
    isWaiting = false
    wake()
  }

  function takeControl(parts: Buffer[]): number {
    let bytes = 0
    if (pongOwed) {
      parts.push(pongOwed)
      bytes += pongOwed.length
      pongOwed = undefined
    }
    let taken = 0
    for (const frame of control) {
      if (bytes >= limits.tunnelBatchBytesMax) break
      parts.push(frame)
      bytes += frame.length
      taken++
      noteHandOver(frame)
    }
    if (taken === control.length) control = []
    else control.splice(0, taken)
    return bytes
  }

  function noteHandOver(frame: Buffer): void {
    const type = frame[0]
    if (type !== frameTypes.full && type !== frameTypes.head) return
    const stream = streams.get(frame.readUInt32BE(1))
    if (!stream) return
    stream.isHandedOver = true
    if (type === frameTypes.full) stream.finishOut()
  }

  function takeData(parts: Buffer[], bytesMax: number): number {
    let bytes = 0
    while (bytes < bytesMax && ready.length > 0) {
      const stream = ready.shift() as Stream
      stream.isMarked = false
      if (!stream.canSend) continue
      bytes += stream.take(parts)
      // To the back of the row: nobody gets a second slice before the others have had one.
      if (stream.canSend) host.markReady(stream)
    }
    return bytes
  }

  function onFrame(type: FrameType, streamId: number, payload: Buffer): void {
    if (streamId === 0) onConnectionFrame(type, payload)
    else {
      const stream = streams.get(streamId)
      if (stream) onStreamFrame(stream, type, payload)
      else openForPeer(type, streamId, payload)
    }
  }

  function onConnectionFrame(type: FrameType, payload: Buffer): void {
    if (type === frameTypes.ping) owePong(payload)
    else if (type === frameTypes.pong) notePong(payload)
    else if (type === frameTypes.goaway) options.onGoaway?.()
    else options.onMore?.()
  }

  function onStreamFrame(stream: Stream, type: FrameType, payload: Buffer): void {
    if (type === frameTypes.full) {
      const { head, body } = decodeFullPayload(payload)
      stream.receiveHead(head)
      stream.receiveBody(ownBytes(body))
    } else if (type === frameTypes.head) stream.receiveHead(payload.toString('latin1'))
    else if (type === frameTypes.end) stream.receiveEnd(payload.toString('latin1'))
    else if (type === frameTypes.reset) stream.receiveReset(toResetReason(payload[0]))
    else if (type === frameTypes.window) stream.receiveCredit(payload.readUInt32BE(0))
    else if (type === frameTypes.accept) stream.receiveAccept()
    else if (type === frameTypes.moved) stream.receiveMoved()
    else if (type === frameTypes.continue) stream.receiveContinue()
  }

  function openForPeer(type: FrameType, streamId: number, payload: Buffer): void {
    if (!onStream || (type !== frameTypes.head && type !== frameTypes.full)) return
    // Order is what lets a provider say for certain which requests of a lost tunnel it took.
    if (streamId <= lastPeerStreamId) throw frameInvalid(`stream ${streamId} after ${lastPeerStreamId}`)
    lastPeerStreamId = streamId
    if (streams.size >= limits.streamsPerTunnelMax) {
      host.sendControl(encodeFrame(frameTypes.reset, streamId, Buffer.of(resetCodes.refused)))
      return
    }
    const { head, body } =
      type === frameTypes.full
        ? decodeFullPayload(payload)
        : { head: payload.toString('latin1'), body: undefined }
    const stream = new Stream(host, { id: streamId, handler: nobody, isHeadIn: true })
    streams.set(streamId, stream)
    stream.handler = onStream(stream, head)
    if (body) stream.receiveBody(ownBytes(body))
  }

  function owePong(payload: Buffer): void {
    // Only the latest counts, so a flood of pings makes no queue.
    pongOwed = encodeFrame(frameTypes.pong, 0, payload)
    wake()
  }

  function notePong(payload: Buffer): void {
    if (pingsUnanswered === 0 || payload.readUInt32BE(4) !== pings) return
    pingsUnanswered = 0
    const sampleMs = clock.monotonicMs() - pingSentMs
    rttMs = rttMs === undefined ? sampleMs : rttMs * 0.75 + sampleMs * 0.25
  }

  function fail(error: ProtocolError): void {
    if (isClosed) return
    close()
    transport.destroy()
    options.onInvalid?.(error)
  }

  function close(): void {
    if (isClosed) return
    isClosed = true
    control = []
    ready = []
    for (const stream of [...streams.values()]) stream.lose()
  }

  function openStream(handler: StreamHandler): Stream {
    const stream = new Stream(host, { id: nextStreamId++, handler, isHeadIn: false })
    streams.set(stream.id, stream)
    if (isClosed) queueMicrotask(() => stream.lose())
    return stream
  }

  const parser = createFrameParser({
    onFrame,
    onData: (streamId, part) => streams.get(streamId)?.receiveData(ownBytes(part)),
  })

  return {
    receive(chunk) {
      if (isClosed) return
      heardAtMs = clock.monotonicMs()
      notePassed(chunk.length)
      try {
        parser.receive(chunk)
      } catch (error) {
        if (!isProtocolError(error)) throw error
        fail(error)
      }
    },
    open(handler, head) {
      const stream = openStream(handler)
      stream.sendHead(head)
      return stream
    },
    openWhole(handler, head, body) {
      const stream = openStream(handler)
      stream.sendWhole(head, body)
      return stream
    },
    get streams() {
      return streams.size
    },
    get lastPeerStreamId() {
      return lastPeerStreamId
    },
    get rttMs() {
      return rttMs
    },
    ping() {
      pings = (pings + 1) >>> 0
      pingsUnanswered++
      pingSentMs = clock.monotonicMs()
      const payload = Buffer.alloc(8)
      payload.writeUInt32BE(pings, 4)
      host.sendControl(encodeFrame(frameTypes.ping, 0, payload))
    },
    get heardAtMs() {
      return heardAtMs
    },
    get pingsUnanswered() {
      return pingsUnanswered
    },
    more: () => host.sendControl(encodeFrame(frameTypes.more, 0)),
    find: (streamId) => streams.get(streamId),
    goaway: () => host.sendControl(encodeFrame(frameTypes.goaway, 0)),
    close,
  }
}

/** A small part is copied, so that it does not keep the much larger message alive that it came in. */
function ownBytes(part: Buffer): Buffer {
  if (part.length * 4 >= part.buffer.byteLength) return part
  const copy = Buffer.allocUnsafeSlow(part.length)
  part.copy(copy)
  return copy
}

/** Holds a stream's place until its handler is known; nothing can arrive in between. */
const nobody: StreamHandler = {
  onHead() {},
  onAccept() {},
  onData() {},
  onEnd() {},
  onDrain() {},
  onReset() {},
  onLost() {},
}
