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
import { createReceiveWindow, type ReceiveWindow, type WindowBudget } from './receive-window.ts'
import { type ResetReason, resetCodes } from './reset-code.ts'

/** What happens on a stream. Nothing follows `onEnd`, `onReset` and `onLost`. */
export interface StreamHandler {
  /** The peer's head, as Latin-1 text; unchecked. Comes once. Not called on the side that was handed it by `onStream`. */
  onHead(head: string): void
  onAccept(): void
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
  /** Says that the provider takes the request. */
  accept(): void
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
}

/** What a stream needs of the connection that it is on. */
export interface StreamHost {
  readonly windowBudget: WindowBudget
  readonly rttMs: number | undefined
  nowMs(): number
  sendControl(frame: Buffer): void
  /** Takes back a head that has not left yet. */
  withdraw(streamId: number): void
  /** The stream has data or an end to send. */
  markReady(stream: Stream): void
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
  #isInDone = false
  #isPaused = false
  #isDelivering = false
  #isEndDelivered = false
  #isGone = false
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
    return this.#isOutDone
  }

  sendHead(head: string): void {
    if (!this.#isGone) this.#host.sendControl(encodeHeadFrame(this.id, head))
  }

  sendWhole(head: string, body?: Buffer): void {
    if (this.#isGone) return
    if (frameHeaderBytes + 4 + head.length + (body?.length ?? 0) <= limits.tunnelSliceBytesMax) {
      this.#isEndWanted = true
      this.#host.sendControl(encodeFullFrame(this.id, head, body))
      return
    }
    this.sendHead(head)
    if (body && body.length > 0) this.write(body)
    this.end()
  }

  accept(): void {
    if (!this.#isGone) this.#host.sendControl(encodeFrame(frameTypes.accept, this.id))
  }

  write(chunk: Buffer): boolean {
    if (this.#isGone || this.#isEndWanted || chunk.length === 0) return true
    this.#outgoing.push(chunk)
    this.#outgoingBytes += chunk.length
    if (this.#creditBytes > 0) this.#host.markReady(this)
    this.#isBlocked ||= this.#outgoingBytes >= limits.streamQueueBytesMax
    return !this.#isBlocked
  }

  end(trailers = ''): void {
    if (this.#isGone || this.#isEndWanted) return
    this.#trailers = trailers
    this.#isEndWanted = true
    this.#host.markReady(this)
  }

  reset(reason: ResetReason): void {
    if (this.#isGone) return
    if (this.isHandedOver) this.#host.sendControl(encodeFrame(frameTypes.reset, this.id, resetFrom(reason)))
    else this.#host.withdraw(this.id)
    this.#dispose()
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#deliver()
  }

  // From here on: for the connection only.

  /** Whether `take` would give anything. */
  get canSend(): boolean {
    if (this.#isGone || this.#isOutDone) return false
    return this.#outgoingBytes > 0 ? this.#creditBytes > 0 : this.#isEndWanted
  }

  /** Moves one slice into `parts`. @returns its bytes, header included. */
  take(parts: Buffer[]): number {
    if (this.#outgoingBytes === 0) {
      const end = encodeFrame(frameTypes.end, this.id, Buffer.from(this.#trailers, 'latin1'))
      parts.push(end)
      this.finishOut()
      return end.length
    }
    const bytes = Math.min(limits.tunnelSliceBytesMax, this.#creditBytes, this.#outgoingBytes)
    parts.push(encodeFrameHeader(frameTypes.data, this.id, bytes))
    this.#takeBytes(parts, bytes)
    this.#outgoingBytes -= bytes
    this.#creditBytes -= bytes
    if (this.#isBlocked && this.#outgoingBytes < limits.streamQueueBytesMax / 2) this.#unblock()
    return frameHeaderBytes + bytes
  }

  /** The last frame of this side has left. */
  finishOut(): void {
    this.#isOutDone = true
    this.#forgetIfDone()
  }

  receiveHead(head: string): void {
    if (this.#isHeadIn) {
      this.breakOff('flow_broken')
      return
    }
    this.#isHeadIn = true
    this.handler.onHead(head)
  }

  receiveAccept(): void {
    if (!this.#isHeadIn) this.handler.onAccept()
  }

  receiveData(part: Buffer): void {
    if (this.#isGone) return
    this.#window ??= createReceiveWindow(this.#host.windowBudget, this.#host.nowMs())
    if (!this.#isHeadIn || this.#isInDone || !this.#window.receive(part.length)) {
      this.breakOff('flow_broken')
      return
    }
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
    if (!this.#isHeadIn || this.#isInDone) {
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
    this.#dispose()
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
    this.finishOut()
    return true
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
    if (this.#isEndDelivered && this.#isOutDone) this.#dispose()
  }

  #dispose(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#outgoing = []
    this.#outgoingBytes = 0
    if (this.#held) this.#host.holdBytes(-this.#held.bytes)
    this.#held?.clear()
    this.#window?.close()
    this.#host.forget(this)
  }
}

/** A sender's credit beyond this is an attack or a bug. */
const creditBytesMax = 2 * limits.streamWindowBytesMax

function resetFrom(reason: ResetReason): Buffer {
  return Buffer.of(resetCodes[reason])
}
