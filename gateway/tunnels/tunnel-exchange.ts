import { type BagItem, inNoBag } from '../../protocol/base/bag.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import { type ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import {
  formatRequestHead,
  isHopByHop,
  type LostAttempt,
  parseResponseHead,
  parseTrailers,
  type ResponseHead,
} from '../../protocol/frames/head.ts'
import type { MuxStream, StreamHandler } from '../../protocol/frames/mux-stream.ts'
import type { ResetReason } from '../../protocol/frames/reset-code.ts'
import type {
  RawHeaders,
  UpstreamExchange,
  UpstreamHandler,
  UpstreamRequest,
} from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { decideReplay } from './decide-replay.ts'
import { createReplayableBody, type ReplayableBody } from './replayable-body.ts'
import {
  answerBroken,
  answerTimedOut,
  providerBusy,
  requestBroken,
  toStreamError,
  tunnelLost,
} from './tunnel-errors.ts'
import type { TunnelSocket } from './tunnel-socket.ts'

/** Where an exchange finds a socket. */
export interface Placer {
  readonly clock: Clock
  /** Calls `start` of the exchange, now or when a socket comes, or `fail`. */
  place(exchange: TunnelExchange): void
  forget(exchange: TunnelExchange): void
}

/** One request on its way through the tunnels of a provider, through more than one where the first is lost. */
export class TunnelExchange implements UpstreamExchange, StreamHandler, BagItem {
  bagIndex = inNoBag
  readonly #placer: Placer
  readonly #request: UpstreamRequest
  readonly #handler: UpstreamHandler
  readonly #body: ReplayableBody | undefined
  readonly #isKeyed: boolean
  #stream: MuxStream | undefined
  #socket: TunnelSocket | undefined
  #lostAttempts: LostAttempt[] = []
  #sessionKey: string | undefined
  #attempts = 0
  #isAccepted = false
  /** False as long as no attempt has left, or each was refused. */
  #mayHaveRun = false
  #isAnswered = false
  #isSwitched = false
  #isBodyWanted: boolean
  #isPaused = false
  #isOver = false
  #bytesLeft: number | undefined
  #activeMs: number

  constructor(placer: Placer, request: UpstreamRequest, handler: UpstreamHandler) {
    this.#placer = placer
    this.#request = request
    this.#handler = handler
    this.#isKeyed = hasIdempotencyKey(request.rawHeaders)
    this.#activeMs = placer.clock.monotonicMs()
    const { body } = request
    this.#isBodyWanted = request.onBodyWanted === undefined || body === undefined || Buffer.isBuffer(body)
    this.#body =
      body === undefined || Buffer.isBuffer(body)
        ? undefined
        : createReplayableBody(body, {
            onBroken: () => this.fail(requestBroken()),
            onActive: () => this.#noteActivity(),
          })
  }

  /** The only process that may take it, where it may have it already. */
  get sessionKey(): string | undefined {
    return this.#sessionKey
  }

  pause(): void {
    this.#isPaused = true
    this.#stream?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#stream?.resume()
  }

  abort(): void {
    if (this.#isOver) return
    this.#finish()
    this.#stream?.reset('cancelled')
  }

  /** Sends the request through a socket. */
  start(socket: TunnelSocket): void {
    if (this.#isOver) return
    let head: string
    try {
      head = formatRequestHead({
        method: this.#request.method,
        target: this.#request.target,
        rawHeaders: toTunnelHeaders(this.#request),
        lostAttempts: this.#lostAttempts,
        switchesTo: this.#request.switchesTo,
        expectsContinue: !this.#isBodyWanted,
      })
    } catch (error) {
      this.fail(toProtocolError(error))
      return
    }
    this.#attempts++
    this.#isAccepted = false
    this.#socket = socket
    const { body } = this.#request
    if (this.#body) {
      this.#stream = socket.mux.open(this, head)
      // A provider that does not switch has nothing to read.
      if (!this.#request.switchesTo && this.#isBodyWanted) this.#body.sendTo(this.#stream)
    } else this.#stream = socket.mux.openWhole(this, head, body as Buffer | undefined)
    if (this.#isPaused) this.#stream.pause()
  }

  /** Ends it with an error, unless it is over. */
  fail(error: ProtocolError, reason: ResetReason = 'cancelled'): void {
    if (this.#isOver) return
    this.#finish()
    const isUntaken = !this.#mayHaveRun && this.#stream === undefined
    this.#stream?.reset(reason)
    this.#handler.onError(error, isUntaken)
  }

  /** Ends it where nothing has moved for too long. Who stops reading has left, and pays like one who has. */
  expire(nowMs: number): void {
    const idleMsMax = this.#isAnswered ? limits.idleTimeoutMs : limits.firstByteTimeoutMs
    if (nowMs - this.#activeMs <= idleMsMax) return
    // On a WebSocket nobody owes anybody anything: silence ends it, and it was a call all the same.
    this.fail(
      answerTimedOut({ hasBegun: this.#isAnswered }),
      this.#isPaused || this.#isSwitched ? 'cancelled' : 'timed_out',
    )
  }

  onAccept(): void {
    this.#isAccepted = true
  }

  onContinue(): void {
    if (this.#isOver || this.#isAnswered || this.#isBodyWanted || !this.#stream) return
    this.#isBodyWanted = true
    this.#request.onBodyWanted?.()
    this.#body?.sendTo(this.#stream)
  }

  onHead(text: string): void {
    this.#noteActivity()
    let head: ResponseHead
    try {
      head = parseResponseHead(text, this.#request.switchesTo !== undefined)
    } catch (error) {
      this.fail(toProtocolError(error), 'answer_invalid')
      return
    }
    this.#isSwitched = head.status === 101
    const hasNoBody = this.#request.method === 'HEAD' || head.status === 204 || head.status === 304
    this.#bytesLeft = hasNoBody ? 0 : this.#isSwitched ? undefined : head.contentLength
    this.#isAnswered = true
    this.#handler.onHead(head.status, head.rawHeaders)
    if (!this.#isSwitched || !this.#stream || this.#isOver) return
    // It may stay for hours, and each of its messages waits for somebody.
    this.#stream.askForLane()
    this.#body?.sendTo(this.#stream)
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return
    this.#noteActivity()
    // A byte too many would be read as the beginning of the next answer by whoever shares the caller's connection.
    if (this.#bytesLeft !== undefined) this.#bytesLeft -= chunk.length
    if (this.#bytesLeft !== undefined && this.#bytesLeft < 0)
      this.fail(answerBroken('sent more than it announced'), 'answer_invalid')
    else this.#handler.onData(chunk)
  }

  onEnd(text: string): void {
    if (this.#isOver) return
    if (this.#bytesLeft) {
      this.fail(answerBroken('sent less than it announced'), 'answer_invalid')
      return
    }
    let trailers: RawHeaders | undefined
    try {
      trailers = parseTrailers(text, 'provider')
    } catch (error) {
      this.fail(toProtocolError(error), 'answer_invalid')
      return
    }
    this.#finish()
    // The answer is there: the rest of the request is of no use to anybody.
    if (this.#stream && !this.#stream.isSent) this.#stream.reset('cancelled')
    this.#handler.onEnd(trailers)
  }

  onDrain(): void {
    this.#body?.onDrain()
  }

  onReset(reason: ResetReason): void {
    if (reason === 'refused') this.#tryElsewhere({ isHandedOver: false, otherwise: providerBusy() })
    else this.fail(toStreamError(reason))
  }

  onLost(): void {
    this.#tryElsewhere({ isHandedOver: this.#stream?.isHandedOver ?? false, otherwise: tunnelLost() })
  }

  #tryElsewhere({ isHandedOver, otherwise }: { isHandedOver: boolean; otherwise: ProtocolError }): void {
    if (this.#isOver) return
    this.#mayHaveRun ||= isHandedOver
    const replay = decideReplay({
      isHandedOver,
      isAccepted: this.#isAccepted,
      isAnswered: this.#isAnswered,
      isKeyed: this.#isKeyed,
      isBodyKept: this.#body?.isKept() ?? true,
      attempts: this.#attempts,
      attemptsMax: limits.tunnelAttemptsMax,
    })
    if (replay === 'same_process') this.#noteLostAttempt()
    this.#stream = undefined
    if (replay === 'never') {
      this.fail(otherwise)
      return
    }
    this.#body?.detach()
    this.#placer.place(this)
  }

  #noteLostAttempt(): void {
    if (!this.#socket || !this.#stream) return
    this.#lostAttempts = [
      ...this.#lostAttempts,
      { tunnelId: this.#socket.tunnelId, streamId: this.#stream.id },
    ]
    this.#sessionKey = this.#socket.sessionKey
  }

  #noteActivity(): void {
    this.#activeMs = this.#placer.clock.monotonicMs()
  }

  #finish(): void {
    this.#isOver = true
    this.#body?.close()
    this.#placer.forget(this)
  }
}

/** End-to-end headers with a length that is true. */
function toTunnelHeaders({ rawHeaders, body }: UpstreamRequest): RawHeaders {
  const headers: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (isHopByHop(name)) continue
    if (!isStream(body) && name.length === 14 && name.toLowerCase() === 'content-length') continue
    headers.push(name, rawHeaders[index + 1] ?? '')
  }
  if (Buffer.isBuffer(body)) headers.push('content-length', String(body.length))
  return headers
}

function isStream(body: UpstreamRequest['body']): boolean {
  return body !== undefined && !Buffer.isBuffer(body)
}

function hasIdempotencyKey(rawHeaders: RawHeaders): boolean {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (name.length === 15 && name.toLowerCase() === 'idempotency-key') return true
  }
  return false
}
