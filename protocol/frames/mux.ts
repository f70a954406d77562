import type { Clock } from '../base/clock.ts'
import { createYoungCollector } from '../base/collect-young.ts'
import { isProtocolError, type ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import {
  createFrameParser,
  decodeFullPayload,
  encodeFrame,
  type FrameSink,
  type FrameType,
  frameInvalid,
  frameTypes,
} from './codec.ts'
import { type MuxStream, Stream, type StreamHandler, type StreamHost } from './mux-stream.ts'
import { createWindowBudget } from './receive-window.ts'
import { resetCodes, toResetReason } from './reset-code.ts'
import { createStreamTable } from './stream-table.ts'

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
  /** When to say of what was accepted that it was, unless its answer has said so. */
  readonly scheduleAccepts?: (tell: () => void) => void
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
export const createMux = (options: MuxOptions): Mux => new MuxConnection(options)

/** A class, because a gateway has thousands that do nothing: functions of their own would be most of what each costs. */
class MuxConnection implements Mux, StreamHost, FrameSink {
  readonly #options: MuxOptions
  readonly #schedule: (flush: () => void) => void
  readonly #streams = createStreamTable<Stream>()
  readonly windowBudget = createWindowBudget(limits.tunnelWindowBytesMax)
  readonly #notePassed = createYoungCollector()
  readonly #parser = createFrameParser(this)
  readonly #flush = () => this.#sendGathered()
  #control: Buffer[] = []
  #ready: Stream[] = []
  #isScheduled = false
  #isWaiting = false
  #isClosed = false
  #heldBytes = 0
  #nextStreamId = 1
  #isOwingAccepts = false
  /** The last that had come when it was last said what was accepted. */
  #lastStreamIdThen = 0
  lastPeerStreamId = 0
  rttMs: number | undefined
  #pings = 0
  #pingSentMs = 0
  pingsUnanswered = 0
  heardAtMs: number
  #pongOwed: Buffer | undefined

  constructor(options: MuxOptions) {
    this.#options = options
    this.#schedule = options.schedule ?? setImmediate
    this.heardAtMs = options.clock.monotonicMs()
  }

  get streams(): number {
    return this.#streams.size
  }

  receive(chunk: Buffer): void {
    if (this.#isClosed) return
    this.heardAtMs = this.nowMs()
    this.#notePassed(chunk.length)
    try {
      this.#parser.receive(chunk)
    } catch (error) {
      if (!isProtocolError(error)) throw error
      this.#fail(error)
    }
  }

  open(handler: StreamHandler, head: string): MuxStream {
    const stream = this.#openStream(handler)
    stream.sendHead(head)
    return stream
  }

  openWhole(handler: StreamHandler, head: string, body?: Buffer): MuxStream {
    const stream = this.#openStream(handler)
    stream.sendWhole(head, body)
    return stream
  }

  ping(): void {
    this.#pings = (this.#pings + 1) >>> 0
    this.pingsUnanswered++
    this.#pingSentMs = this.nowMs()
    const payload = Buffer.alloc(8)
    payload.writeUInt32BE(this.#pings, 4)
    this.sendControl(encodeFrame(frameTypes.ping, 0, payload))
  }

  goaway(): void {
    this.sendControl(encodeFrame(frameTypes.goaway, 0))
  }

  more(): void {
    this.sendControl(encodeFrame(frameTypes.more, 0))
  }

  find(streamId: number): Stream | undefined {
    return this.#streams.get(streamId)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#control = []
    this.#ready = []
    for (const stream of this.#streams.values()) stream.lose()
  }

  // For its streams.

  nowMs(): number {
    return this.#options.clock.monotonicMs()
  }

  sendControl(frame: Buffer): void {
    this.#control.push(frame)
    if (this.#control.length > limits.tunnelControlFramesMax)
      this.#fail(frameInvalid('much and reads nothing'))
    else this.#wake()
  }

  withdraw(streamId: number): void {
    this.#control = this.#control.filter((frame) => frame.readUInt32BE(1) !== streamId)
  }

  /**
   * An accept of its own costs both ends a system call and a wake-up, as much as the answer, which follows most requests
   * before anything could be lost: nobody has to know sooner, as silence proves nothing (see `decideReplay`).
   */
  oweAccept(): void {
    if (this.#isOwingAccepts) return
    this.#isOwingAccepts = true
    const { scheduleAccepts = later } = this.#options
    scheduleAccepts(() => this.#tellAccepted())
  }

  markReady(stream: Stream): void {
    if (!stream.isMarked) {
      stream.isMarked = true
      this.#ready.push(stream)
    }
    this.#wake()
  }

  noteLarge(stream: Stream): void {
    this.#options.onLarge?.(stream)
  }

  holdBytes(bytes: number): boolean {
    this.#heldBytes += bytes
    return this.#heldBytes <= limits.tunnelQueuedBytesMax
  }

  forget(stream: Stream): void {
    if (this.#streams.delete(stream.id) && this.#streams.size === 0) this.#options.onIdle?.()
  }

  // What goes out.

  #wake(): void {
    if (this.#isScheduled || this.#isWaiting || this.#isClosed) return
    this.#isScheduled = true
    this.#schedule(this.#flush)
  }

  #sendGathered(): void {
    const { transport } = this.#options
    this.#isScheduled = false
    while (!this.#isClosed) {
      if (transport.bufferedBytes() >= limits.tunnelBufferBytesMax) {
        this.#isWaiting = true
        return
      }
      const parts: Buffer[] = []
      let bytes = this.#takeControl(parts)
      bytes += this.#takeData(parts, limits.tunnelBatchBytesMax - bytes)
      if (bytes === 0) return
      transport.send(parts, bytes, this.#onSent)
      this.#notePassed(bytes)
    }
  }

  readonly #onSent = () => {
    const { transport } = this.#options
    if (!this.#isWaiting || transport.bufferedBytes() >= limits.tunnelBufferBytesMax / 2) return
    this.#isWaiting = false
    this.#wake()
  }

  /** Whatever came since the last time may still be answered. */
  #tellAccepted(): void {
    this.#isOwingAccepts = false
    if (this.#isClosed) return
    for (const stream of this.#streams.values()) {
      if (!stream.isAcceptOwed) continue
      if (stream.id <= this.#lastStreamIdThen) stream.tellAccepted()
      else this.oweAccept()
    }
    this.#lastStreamIdThen = this.lastPeerStreamId
  }

  #takeControl(parts: Buffer[]): number {
    let bytes = 0
    if (this.#pongOwed) {
      parts.push(this.#pongOwed)
      bytes += this.#pongOwed.length
      this.#pongOwed = undefined
    }
    let taken = 0
    for (const frame of this.#control) {
      if (bytes >= limits.tunnelBatchBytesMax) break
      parts.push(frame)
      bytes += frame.length
      taken++
      this.#noteHandOver(frame)
    }
    if (taken === this.#control.length) this.#control = []
    else this.#control.splice(0, taken)
    return bytes
  }

  #noteHandOver(frame: Buffer): void {
    const type = frame[0]
    if (type !== frameTypes.full && type !== frameTypes.head) return
    const stream = this.#streams.get(frame.readUInt32BE(1))
    if (!stream) return
    stream.isHandedOver = true
    if (type === frameTypes.full) stream.finishOut()
  }

  #takeData(parts: Buffer[], bytesMax: number): number {
    let bytes = 0
    while (bytes < bytesMax && this.#ready.length > 0) {
      const stream = this.#ready.shift() as Stream
      stream.isMarked = false
      if (!stream.canSend) continue
      // Who is alone takes nobody's turn with a whole frame.
      const sliceBytesMax = this.#ready.length > 0 ? limits.tunnelSliceBytesMax : limits.frameBytesMax
      bytes += stream.take(parts, sliceBytesMax)
      // To the back of the row: nobody gets a second slice before the others have had one.
      if (stream.canSend) this.markReady(stream)
    }
    return bytes
  }

  #openStream(handler: StreamHandler): Stream {
    const stream = new Stream(this, { id: this.#nextStreamId++, handler, isHeadIn: false })
    this.#streams.add(stream)
    if (this.#isClosed) queueMicrotask(() => stream.lose())
    return stream
  }

  // What comes in.

  onFrame(type: FrameType, streamId: number, payload: Buffer): void {
    if (streamId === 0) this.#onConnectionFrame(type, payload)
    else {
      const stream = this.#streams.get(streamId)
      if (stream) this.#onStreamFrame(stream, type, payload)
      else this.#openForPeer(type, streamId, payload)
    }
  }

  onData(streamId: number, part: Buffer): void {
    this.#streams.get(streamId)?.receiveData(ownBytes(part))
  }

  #onConnectionFrame(type: FrameType, payload: Buffer): void {
    if (type === frameTypes.ping) this.#owePong(payload)
    else if (type === frameTypes.pong) this.#notePong(payload)
    else if (type === frameTypes.goaway) this.#options.onGoaway?.()
    else this.#options.onMore?.()
  }

  #onStreamFrame(stream: Stream, type: FrameType, payload: Buffer): void {
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

  #openForPeer(type: FrameType, streamId: number, payload: Buffer): void {
    const { onStream } = this.#options
    if (!onStream || (type !== frameTypes.head && type !== frameTypes.full)) return
    // Order is what lets a provider say for certain which requests of a lost tunnel it took.
    if (streamId <= this.lastPeerStreamId)
      throw frameInvalid(`stream ${streamId} after ${this.lastPeerStreamId}`)
    this.lastPeerStreamId = streamId
    if (this.#streams.size >= limits.streamsPerTunnelMax) {
      this.sendControl(encodeFrame(frameTypes.reset, streamId, Buffer.of(resetCodes.refused)))
      return
    }
    const { head, body } =
      type === frameTypes.full
        ? decodeFullPayload(payload)
        : { head: payload.toString('latin1'), body: undefined }
    const stream = new Stream(this, { id: streamId, handler: nobody, isHeadIn: true })
    this.#streams.add(stream)
    stream.handler = onStream(stream, head)
    if (body) stream.receiveBody(ownBytes(body))
  }

  #owePong(payload: Buffer): void {
    // Only the latest counts, so a flood of pings makes no queue.
    this.#pongOwed = encodeFrame(frameTypes.pong, 0, payload)
    this.#wake()
  }

  #notePong(payload: Buffer): void {
    if (this.pingsUnanswered === 0 || payload.readUInt32BE(4) !== this.#pings) return
    this.pingsUnanswered = 0
    const sampleMs = this.nowMs() - this.#pingSentMs
    this.rttMs = this.rttMs === undefined ? sampleMs : this.rttMs * 0.75 + sampleMs * 0.25
  }

  #fail(error: ProtocolError): void {
    if (this.#isClosed) return
    this.close()
    this.#options.transport.destroy()
    this.#options.onInvalid?.(error)
  }
}

const later = (tell: () => void) => void setTimeout(tell, limits.tunnelAcceptTickMs).unref()

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
