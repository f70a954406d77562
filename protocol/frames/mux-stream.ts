import { limits } from '../limits.ts'
import { type ByteQueue, createByteQueue } from './byte-queue.ts'
import {
  encodeFrame,
  encodeFrameHeader,
  encodeFullFrame,
  encodeHeadFrame,
  encodeWindowFrame,
  frameHeaderBytes,
  frameTypes,
} from './codec.ts'
import { createLane, type Lane, type LaneOwner } from './lane.ts'
import { createReceiveWindow, type ReceiveWindow, type WindowBudget } from './receive-window.ts'
import { type ResetReason, resetCodes } from './reset-code.ts'

/** What happens on a stream. Nothing follows `onEnd`, `onReset` and `onLost`. */
export interface StreamHandler {
  /** The peer's head, as Latin-1 text; unchecked. Comes once. Not called on the side that was handed it by `onStream`. */
  onHead(head: string): void
  onAccept(): void
  /** The peer wants the body of a request that waits for that. */
  onContinue?(): void
  /** The next bytes of the body; the buffer is the handler's to keep for as long as it reads on. */
  onData(chunk: Buffer): void
  /** @param trailers - What the peer's `end` was given, as Latin-1 text; unchecked. Empty where that was nothing. */
  onEnd(trailers: string): void
  /** There is room again after `write` said no. */
  onDrain(): void
  /** The peer broke the stream off, or broke the rules. */
  onReset(reason: ResetReason): void
  /** The connection went. */
  onLost(): void
  /** Everything of this side, its end included, has left. */
  onSent?(): void
}

/** One request and its answer. */
export interface MuxStream {
  readonly id: number
  /** Whether the head has left for the transport: before that, the peer cannot know of the stream. */
  readonly isHandedOver: boolean
  /** Whether everything, the end included, has left for the transport. */
  readonly isSent: boolean
  sendHead(head: string): void
  /** Head, whole body and end. */
  sendWhole(head: string, body?: Buffer): void
  /** Says that the provider takes the request; its answer says it, too, where that comes within a few milliseconds. */
  accept(): void
  /** Asks for the body of a request that waits for that. */
  askForBody(): void
  /** @returns false where the writer should wait for `onDrain`; the chunk is taken in any case. */
  write(chunk: Buffer): boolean
  /** @param trailers - Latin-1 text that goes with the end. */
  end(trailers?: string): void
  /** Breaks off both directions; the handler hears nothing more. */
  reset(reason: ResetReason): void
  /** No `onData` until `resume`; the credit that the peer has may still arrive and is held. */
  pause(): void
  /** May call `onData` and `onEnd` before it returns. */
  resume(): void
  /** Says that it will carry much, or for long, so that it should have a connection of its own. */
  askForLane(): void
}

/** What a stream needs of the connection that it is on. */
export interface StreamHost {
  readonly windowBudget: WindowBudget
  readonly rttMs: number | undefined
  nowMs(): number
  sendControl(frame: Buffer): void
  /** Takes back a head that has not left yet. */
  withdraw(streamId: number): void
  /** The stream's `tellAccepted` is to be called in a few milliseconds. */
  oweAccept(): void
  /** The stream has data or an end to send. */
  markReady(stream: Stream): void
  /** The stream has become large; called once, and once more if only then the peer is known to have it. */
  noteLarge(stream: Stream): void
  /** Bytes began (or ceased) to wait for the stream's reader. @returns false where they are too many. */
  holdBytes(bytes: number): boolean
  forget(stream: Stream): void
}

/** A class, because there is one for every request and its methods are better shared. */
export class Stream implements MuxStream {
  readonly id: number
  readonly #host: StreamHost
  handler: StreamHandler
  isHandedOver = false
  /** In the queue of those that want to send. */
  isMarked = false

  #outgoing: Buffer[] = []
  #outgoingBytes = 0
  #creditBytes: number = limits.streamWindowBytesMin
  #isEndWanted = false
  #trailers = ''
  #trailersIn = ''
  #isOutDone = false
  #isBlocked = false

  readonly #isOpener: boolean
  #isHeadIn: boolean
  #isAccepted = false
  /** Whether the peer has not been told yet that its request was taken. */
  isAcceptOwed = false
  #isInDone = false
  #isInMoved = false
  #isPaused = false
  #isDelivering = false
  #isEndDelivered = false
  #isGone = false
  #lane: Lane | undefined
  #carriedBytes = 0
  #isNotedLarge = false
  #held: ByteQueue | undefined
  #window: ReceiveWindow | undefined

  constructor(
    host: StreamHost,
    { id, handler, isHeadIn }: { id: number; handler: StreamHandler; isHeadIn: boolean },
  ) {
    this.id = id
    this.#host = host
    this.handler = handler
    this.#isOpener = !isHeadIn
    this.#isHeadIn = isHeadIn
    this.isHandedOver = isHeadIn
  }

  get isSent(): boolean {
    return this.#isOutDone && (this.#lane?.isSent ?? true)
  }

  sendHead(head: string): void {
    if (this.#isGone) return
    this.isAcceptOwed = false
    this.#host.sendControl(encodeHeadFrame(this.id, head))
  }

  sendWhole(head: string, body?: Buffer): void {
    if (this.#isGone) return
    const bytes = frameHeaderBytes + 4 + head.length + (body?.length ?? 0)
    if (bytes <= limits.tunnelSliceBytesMax && !this.#lane?.isOutMoved) {
      this.#isEndWanted = true
      this.isAcceptOwed = false
      this.#host.sendControl(encodeFullFrame(this.id, head, body))
      return
    }
    this.sendHead(head)
    if (body && body.length > 0) this.write(body)
    this.end()
  }

  accept(): void {
    if (this.#isGone) return
    this.isAcceptOwed = true
    this.#host.oweAccept()
  }

  askForBody(): void {
    if (!this.#isGone) this.#host.sendControl(encodeFrame(frameTypes.continue, this.id))
  }

  write(chunk: Buffer): boolean {
    if (this.#isGone || this.#isEndWanted || chunk.length === 0) return true
    if (this.#lane?.isOutMoved) return this.#lane.write(chunk)
    this.#outgoing.push(chunk)
    this.#outgoingBytes += chunk.length
    if (this.#creditBytes > 0) this.#host.markReady(this)
    this.#isBlocked ||= this.#outgoingBytes >= limits.streamQueueBytesMax
    return !this.#isBlocked
  }

  end(trailers = ''): void {
    if (this.#isGone || this.#isEndWanted) return
    this.#isEndWanted = true
    if (this.#lane?.isOutMoved) {
      this.#lane.end(trailers)
      return
    }
    this.#trailers = trailers
    this.#host.markReady(this)
  }

  reset(reason: ResetReason): void {
    if (this.#isGone) return
    if (this.isHandedOver) this.#host.sendControl(encodeFrame(frameTypes.reset, this.id, resetFrom(reason)))
    else this.#host.withdraw(this.id)
    this.#dispose(reason)
  }

  pause(): void {
    this.#isPaused = true
    this.#lane?.letFlow(false)
  }

  resume(): void {
    this.#isPaused = false
    this.#deliver()
  }

  askForLane(): void {
    if (this.#isNotedLarge || this.#isGone) return
    this.#isNotedLarge = true
    queueMicrotask(() => {
      if (!this.#isGone) this.#host.noteLarge(this)
    })
  }

  // From here on: for the connection only.

  /** Whether it may get a lane: the peer surely knows of it, it has none, and more may come or go. */
  get isMovable(): boolean {
    const isKnown = !this.#isOpener || this.#isAccepted || this.#isHeadIn
    return isKnown && !this.#isGone && !this.#lane && !(this.#isInDone && this.#isEndWanted)
  }

  /**
   * Lets the rest of both directions go through a stream of another connection that is used for nothing else. Either end
   * does this; each direction moves where its sender says so, behind all that it has sent here.
   *
   * @param open - Makes that stream with this handler.
   */
  moveTo(open: (handler: StreamHandler) => MuxStream): void {
    const owner: LaneOwner = {
      onData: (chunk) => this.#isGone || this.handler.onData(chunk),
      onEnd: (trailers) => this.#receiveLastEnd(trailers),
      onDrain: () => this.#isGone || this.handler.onDrain(),
      // Refused is what the peer has no stream for any more; what became of it comes here.
      onReset: (reason) => reason === 'refused' || this.breakOff(reason),
      onLost: () => this.#loseLane(),
      onSent: () => this.#forgetIfDone(),
    }
    this.#lane = createLane(open, owner, { isOutMoved: !this.#isEndWanted && !this.#isOutDone })
    if (this.#lane.isOutMoved) this.#host.markReady(this)
    this.#deliver()
  }

  /** The peer has moved its direction. It may say so before this side has the lane, which takes another way. */
  receiveMoved(): void {
    if (this.#isGone) return
    const isUnasked = this.#isOpener && !this.#lane
    if (isUnasked || this.#isInDone || this.#isInMoved) {
      this.breakOff('flow_broken')
      return
    }
    this.#isInMoved = true
    this.#deliver()
  }

  /** Whether `take` would give anything. */
  get canSend(): boolean {
    if (this.#isGone || this.#isOutDone) return false
    return this.#outgoingBytes > 0 ? this.#creditBytes > 0 : this.#isEndWanted || this.#isMoveWanted
  }

  /** Moves one slice into `parts`. @param bytesMax - Of its data. @returns its bytes, header included. */
  take(parts: Buffer[], bytesMax: number): number {
    if (this.#outgoingBytes === 0 && this.#isMoveWanted) {
      parts.push(encodeFrame(frameTypes.moved, this.id))
      this.finishOut()
      return frameHeaderBytes
    }
    if (this.#outgoingBytes === 0) {
      const end = encodeFrame(frameTypes.end, this.id, Buffer.from(this.#trailers, 'latin1'))
      parts.push(end)
      this.finishOut()
      return end.length
    }
    const bytes = Math.min(bytesMax, this.#creditBytes, this.#outgoingBytes)
    parts.push(encodeFrameHeader(frameTypes.data, this.id, bytes))
    this.#takeBytes(parts, bytes)
    this.#outgoingBytes -= bytes
    this.#creditBytes -= bytes
    this.#noteCarried(bytes)
    if (this.#isBlocked && this.#outgoingBytes < limits.streamQueueBytesMax / 2) this.#unblock()
    return frameHeaderBytes + bytes
  }

  tellAccepted(): void {
    this.isAcceptOwed = false
    this.#host.sendControl(encodeFrame(frameTypes.accept, this.id))
  }

  /** The last frame of this side has left. */
  finishOut(): void {
    this.#isOutDone = true
    this.handler.onSent?.()
    this.#forgetIfDone()
  }

  receiveHead(head: string): void {
    if (this.#isHeadIn) {
      this.breakOff('flow_broken')
      return
    }
    this.receiveAccept()
    this.#isHeadIn = true
    if (!this.#isGone) this.handler.onHead(head)
    // A lane may be faster than a head, which never takes it.
    if (this.#isInMoved) this.#deliver()
  }

  receiveAccept(): void {
    if (this.#isHeadIn || this.#isAccepted) return
    this.#isAccepted = true
    this.handler.onAccept()
    if (this.#isNotedLarge && !this.#isGone) this.#host.noteLarge(this)
  }

  receiveContinue(): void {
    if (!this.#isHeadIn) this.handler.onContinue?.()
  }

  receiveData(part: Buffer): void {
    if (this.#isGone) return
    this.#window ??= createReceiveWindow(this.#host.windowBudget, this.#host.nowMs())
    if (!this.#isHeadIn || this.#isInDone || this.#isInMoved || !this.#window.receive(part.length)) {
      this.breakOff('flow_broken')
      return
    }
    this.#noteCarried(part.length)
    if (!this.#isPaused && !this.#isDelivering && !this.#held?.bytes) {
      this.handler.onData(part)
      this.#consume(part.length)
      return
    }
    this.#hold(part)
  }

  /** The whole body of a full frame: less than the smallest window, so it needs no credit. */
  receiveBody(body: Buffer): void {
    if (this.#isGone) return
    if (body.length > 0) {
      if (this.#isPaused) this.#hold(body)
      else this.handler.onData(body)
    }
    this.receiveEnd()
  }

  receiveEnd(trailers = ''): void {
    if (this.#isGone) return
    if (!this.#isHeadIn || this.#isInDone || this.#isInMoved) {
      this.breakOff('flow_broken')
      return
    }
    this.#isInDone = true
    this.#trailersIn = trailers
    this.#deliver()
    this.#forgetIfDone()
  }

  receiveReset(reason: ResetReason): void {
    if (this.#isGone || this.#hasWholeAnswer()) return
    this.#dispose(reason)
    this.handler.onReset(reason)
  }

  receiveCredit(bytes: number): void {
    this.#creditBytes += bytes
    if (bytes === 0 || this.#creditBytes > creditBytesMax) {
      this.breakOff('flow_broken')
      return
    }
    if (this.canSend) this.#host.markReady(this)
  }

  /** The connection went. An answer that had arrived whole is still delivered. */
  lose(): void {
    if (this.#isGone || this.#hasWholeAnswer()) return
    this.#dispose()
    this.handler.onLost()
  }

  /** The peer broke a rule. */
  breakOff(reason: ResetReason): void {
    if (this.#isGone) return
    this.reset(reason)
    this.handler.onReset(reason)
  }

  /** @returns true where nothing more is needed of the peer; then nothing more is sent to it either. */
  #hasWholeAnswer(): boolean {
    if (!this.#isOpener || !this.#isInDone) return false
    this.#outgoing = []
    this.#outgoingBytes = 0
    this.#lane?.close('cancelled')
    this.#lane = undefined
    this.finishOut()
    return true
  }

  /** This side's direction goes on elsewhere, and the peer has not been told yet. */
  get #isMoveWanted(): boolean {
    return this.#lane?.isOutMoved === true && !this.#isOutDone
  }

  #noteCarried(bytes: number): void {
    this.#carriedBytes += bytes
    if (this.#carriedBytes >= limits.tunnelLaneBytesMin) this.askForLane()
  }

  /** The end of what came through the lane; where this side's end came here, that one says nothing. */
  #receiveLastEnd(trailers: string): void {
    if (this.#isGone || !this.#isInMoved || this.#isInDone) return
    this.#isInDone = true
    this.#trailersIn = trailers
    this.#deliver()
    this.#forgetIfDone()
  }

  #loseLane(): void {
    if (this.#isGone || this.#hasWholeAnswer()) return
    this.#host.sendControl(encodeFrame(frameTypes.reset, this.id, resetFrom('lane_lost')))
    this.#dispose()
    this.handler.onLost()
  }

  #takeBytes(parts: Buffer[], bytes: number): void {
    let missing = bytes
    let whole = 0
    for (const chunk of this.#outgoing) {
      if (chunk.length > missing) break
      parts.push(chunk)
      missing -= chunk.length
      whole++
    }
    this.#outgoing.splice(0, whole)
    if (missing === 0) return
    const chunk = this.#outgoing[0] as Buffer
    parts.push(chunk.subarray(0, missing))
    this.#outgoing[0] = chunk.subarray(missing)
  }

  #hold(part: Buffer): void {
    this.#held ??= createByteQueue()
    this.#held.push(part)
    if (!this.#host.holdBytes(part.length)) this.breakOff('overloaded')
  }

  #unblock(): void {
    this.#isBlocked = false
    // Later, because the connection is in the middle of a batch.
    queueMicrotask(() => {
      if (!this.#isGone) this.handler.onDrain()
    })
  }

  #deliver(): void {
    if (this.#isDelivering) return
    this.#isDelivering = true
    while (!this.#isPaused && !this.#isGone) {
      const part = this.#held?.shift()
      if (!part) break
      this.#host.holdBytes(-part.length)
      this.handler.onData(part)
      this.#consume(part.length)
    }
    this.#isDelivering = false
    const isDrained = !this.#held?.bytes
    // What came here goes before what comes through the lane; an end here means that there is nothing.
    const isTurn = this.#isInMoved && this.#isHeadIn && isDrained && !this.#isPaused
    this.#lane?.letFlow(this.#isInDone || isTurn)
    if (this.#isInDone && isDrained && !this.#isPaused && !this.#isGone && !this.#isEndDelivered) {
      this.#isEndDelivered = true
      this.handler.onEnd(this.#trailersIn)
    }
    this.#forgetIfDone()
  }

  #consume(bytes: number): void {
    if (this.#isInDone || this.#isGone || !this.#window) return
    const { rttMs } = this.#host
    const creditBytes = this.#window.consume(bytes, { nowMs: this.#host.nowMs(), rttMs })
    if (creditBytes > 0) this.#host.sendControl(encodeWindowFrame(this.id, creditBytes))
  }

  #forgetIfDone(): void {
    if (!this.#isEndDelivered || !this.isSent) return
    // It ends by itself: the other end may not have read all of it.
    this.#lane = undefined
    this.#dispose()
  }

  #dispose(reason: ResetReason = 'lane_lost'): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#outgoing = []
    this.#outgoingBytes = 0
    if (this.#held) this.#host.holdBytes(-this.#held.bytes)
    this.#held?.clear()
    this.#window?.close()
    this.#lane?.close(reason)
    this.#host.forget(this)
  }
}

/** A sender's credit beyond this is an attack or a bug. */
const creditBytesMax = 2 * limits.streamWindowBytesMax

function resetFrom(reason: ResetReason): Buffer {
  return Buffer.of(resetCodes[reason])
}
