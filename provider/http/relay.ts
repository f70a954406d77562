import { KiB } from '../../protocol/base/bytes.ts'
import type { Outcome } from '../../protocol/call.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { addTrailers } from '../../protocol/http/trailers.ts'
import type { RawHeaders, UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { type CallOutcome, type Instance, toCallError } from '../runtime/runtime.ts'
import { createBodyHash } from './body-hash.ts'
import type { Booked } from './call-money.ts'
import { isNobodys, toCallerHeaders } from './program-headers.ts'
import { createFrameFollower, encodeGoodbye, type FrameFollower, goodbyes } from './web-socket-frames.ts'

/** How a call ended, for the books. */
export interface Ending {
  readonly outcome: Outcome
  /** It was the request that could not go on: nobody's fault in the books, and yet work for its caller. */
  readonly isRefused: boolean
  /** 499 where the caller left before there was any. */
  readonly status: number
  /** SHA-256 of the body as the program gave it, so far as it came. */
  readonly bodyDigest: Buffer
  /** Set unless the program answered. */
  readonly error: ProtocolError | undefined
  /** The program's own headers, for an answer that is kept. */
  readonly rawHeaders: RawHeaders
  /** The whole body, where it was asked for and is small enough. */
  readonly body: Buffer | undefined
}

export interface RelayOptions {
  readonly instance: Instance
  readonly request: UpstreamRequest
  readonly response: OutgoingResponse
  /** Headers of ours that go with every answer. */
  readonly callHeaders: RawHeaders
  /**
   * Up to how many bytes of body are kept for `Ending.body`; 0 keeps none. A call whose answer is kept goes on when its
   * caller leaves: it will ask again.
   */
  readonly keptBytesMax: number
  /**
   * Books the call. The last byte of the answer waits for it, so that nobody holds a whole answer that the ledger could
   * still lose. What it throws goes to the caller instead of the answer, and so does a refusal that it gives.
   */
  readonly book: (ending: Ending) => Promise<Booked>
  /** Says a problem to the caller; called only while nothing was sent. */
  readonly refuse: (error: ProtocolError, rawHeaders?: RawHeaders) => void
  /** Holds the head back until the books have said what goes into it, unless the answer is too large to be kept. */
  readonly waitsForBooks?: WaitsForBooks
  /** Which of the program's headers are not its own to say. */
  readonly isOurs?: (lowerName: string) => boolean
}

export interface WaitsForBooks {
  /** Go with the head of an answer that cannot wait. */
  readonly earlyHeaders: RawHeaders
}

/**
 * Sends a request to the program and its answer to the caller, with back-pressure both ways. An answer that is there
 * at once goes out as one piece; a longer one streams, and only its end waits for the books.
 *
 * @returns what stops the call from outside, as for a request body that is too large.
 */
export function relay(options: RelayOptions): { stop(error: ProtocolError): void } {
  const {
    instance,
    response,
    callHeaders,
    keptBytesMax,
    book,
    refuse,
    waitsForBooks,
    isOurs = isNobodys,
  } = options
  const hash = createBodyHash()
  let status = 499
  let programHeaders: RawHeaders = []
  let expectedBytes = -1
  let expectsBody = false
  let bytes = 0
  let isHeadSent = false
  let isCallerGone = false
  let isOver = false
  let pending: Buffer[] = []
  let kept: Buffer[] | undefined = keptBytesMax > 0 ? [] : undefined
  let trailers: RawHeaders | undefined
  let frames: FrameFollower | undefined
  let goodbye: Buffer | undefined
  let flushing: NodeJS.Immediate | undefined

  const exchange: UpstreamExchange = instance.call(options.request, {
    onHead(headStatus, rawHeaders) {
      status = headStatus
      if (status === 101) frames = createFrameFollower()
      programHeaders = toCallerHeaders(rawHeaders, isOurs)
      expectedBytes = contentLengthOf(programHeaders)
      const isBodiless = options.request.method === 'HEAD' || status === 204 || status === 304
      expectsBody = expectedBytes >= 0 && !isBodiless
      if (sizeOf(programHeaders) > limits.answerHeaderBytesMax) return breakOff(headTooLarge)
      // A program that streams may take its time between head and body: the caller should not wait for the latter.
      flushing = setImmediate(flush)
    },
    onData(chunk) {
      hash.update(chunk)
      bytes += chunk.length
      // The gateway breaks it off, too, and who is at fault then can only be guessed from here.
      if (expectsBody && bytes > expectedBytes) return breakOff(lengthWrong('longer'))
      if (kept && bytes <= keptBytesMax) kept.push(chunk)
      else kept = undefined
      if (isCallerGone) return kept ? undefined : leave()
      frames?.push(chunk)
      pending.push(chunk)
      // The piece that completes a known length is the end, and waits for the books.
      if ((isHeadSent || hasWaited()) && bytes !== expectedBytes) flush()
    },
    onEnd: (outcome, rawTrailers) => {
      trailers = rawTrailers
      const isShort = outcome.kind === 'answered' && expectsBody && bytes < expectedBytes
      over(isShort ? lengthWrong('shorter') : outcome)
    },
  })

  /** What is kept whole can wait for the books; what is too large for that has waited long enough. */
  const isHeldBack = () => waitsForBooks !== undefined && kept !== undefined
  const hasWaited = () => waitsForBooks !== undefined && kept === undefined

  function flush(): void {
    flushing = undefined
    if (isOver || isCallerGone || isHeldBack() || (pending.length > 0 && bytes === expectedBytes)) return
    const isSent = trySend(() => {
      sendHead(waitsForBooks?.earlyHeaders ?? [])
      if (pending.length === 0) response.flushHeaders()
      for (const chunk of pending) if (!response.write(chunk)) exchange.pause()
    })
    pending = []
    if (!isSent) breakOff(headTooLarge)
  }

  function sendHead(more: RawHeaders): void {
    if (isHeadSent) return
    response.writeHead(status, [...programHeaders, ...callHeaders, ...more])
    isHeadSent = true
  }

  /** What a program answers is hostile: a head that cannot be written breaks its own answer off, and nothing else. */
  function trySend(send: () => void): boolean {
    try {
      send()
      return true
    } catch {
      response.destroy()
      return false
    }
  }

  function breakOff(outcome: CallOutcome): void {
    if (isOver) return
    exchange.abort()
    over(outcome)
  }

  function over(outcome: CallOutcome): void {
    if (isOver) return
    isOver = true
    if (flushing) clearImmediate(flushing)
    if (frames?.isBetween) goodbye = goodbyeOf(outcome)
    const bodyDigest = hash.digest()
    const error = outcome.kind === 'answered' ? undefined : toCallError(outcome)
    const body = error === undefined && kept ? Buffer.concat(kept) : undefined
    const ending = {
      outcome: isCallersDoing(outcome) ? leftAs() : toOutcome(outcome),
      isRefused: outcome.kind === 'refused',
      status: error ? error.status : status,
      bodyDigest,
      error,
      rawHeaders: programHeaders,
      body,
    }
    book(ending).then(
      ({ headers, refusal = error }) => (refusal ? fail(refusal, headers) : finish(bodyDigest, headers)),
      (bookError: ProtocolError) => fail(bookError),
    )
  }

  /** A caller that leaves has had the work done; one that was lost on the way has not left. */
  const leftAs = () => (response.isWayLost ? ('platform_fault' as const) : ('caller_gone' as const))

  /** Nobody waits for the answer any more. */
  function leave(): void {
    isOver = true
    if (flushing) clearImmediate(flushing)
    exchange.abort()
    const ending = {
      outcome: leftAs(),
      isRefused: false,
      status: response.isWayLost ? 502 : 499,
      bodyDigest: hash.digest(),
    }
    book({ ...ending, error: undefined, rawHeaders: [], body: undefined }).catch(() => undefined)
  }

  /**
   * A caller that breaks off its own request, or goes beyond a limit when it has a part of the answer already, has had
   * the work done: else the last byte of a request would make the first 100 MiB of an answer free.
   */
  function isCallersDoing({ kind }: CallOutcome): boolean {
    const { body } = options.request
    return (
      kind === 'refused' && (isHeadSent || (body !== undefined && !Buffer.isBuffer(body) && body.destroyed))
    )
  }

  function finish(bodyDigest: Buffer, booked: RawHeaders): void {
    if (response.destroyed) return
    // Only now are they known; behind a stream they come as trailers, where its framing has a place for them.
    const digest = ['Content-Digest', `sha-256=:${bodyDigest.toString('base64')}:`]
    const hasDigest = programHeaders.some((name, i) => i % 2 === 0 && /^content-digest$/i.test(name))
    const ours = hasDigest ? booked : [...digest, ...booked]
    trySend(() => {
      if (isHeadSent) addTrailers(response, ours, 'provider')
      else sendHead(ours)
      addTrailers(response, trailers, 'others')
      const last = Buffer.concat(goodbye ? [...pending, goodbye] : pending)
      if (last.length <= mergedBytesMax) response.end(last.toString('latin1'), 'latin1')
      else response.end(last)
    })
  }

  function fail(error: ProtocolError, booked?: RawHeaders): void {
    if (!isHeadSent && !response.headersSent) refuse(error, booked)
    else if (goodbye && !response.destroyed) response.end(Buffer.concat([...pending, goodbye]))
    else response.destroy()
  }

  response.on('drain', () => exchange.resume())
  response.on('close', () => {
    if (response.writableFinished || isOver) return
    isCallerGone = true
    pending = []
    if (kept) exchange.resume()
    else leave()
  })

  return { stop: (error) => breakOff({ kind: 'refused', error }) }
}

/** Up to here one string for head and body costs less than two buffers and a `writev`. */
const mergedBytesMax = 16 * KiB

const headTooLarge: CallOutcome = {
  kind: 'headers_too_large',
  bytesMax: limits.answerHeaderBytesMax,
}

const lengthWrong = (how: 'longer' | 'shorter'): CallOutcome => ({
  kind: 'output_invalid',
  message: `The body of the program's answer is ${how} than its Content-Length.`,
})

/** Where a program's WebSocket ends without its doing, its caller is told why. */
function goodbyeOf(outcome: CallOutcome): Buffer | undefined {
  switch (outcome.kind) {
    case 'answered':
      return outcome.isCut ? encodeGoodbye(goodbyes.goingAway) : undefined
    case 'refused':
    case 'output_too_large':
      return encodeGoodbye(goodbyes.tooLarge)
    case 'stopped':
      return encodeGoodbye(goodbyes.restart)
    default:
      return encodeGoodbye(goodbyes.programFailed)
  }
}

/** As it counts on the wire: name, colon, space, value, line end. */
function sizeOf(rawHeaders: RawHeaders): number {
  return rawHeaders.reduce((sum, text) => sum + text.length + 2, 0)
}

function contentLengthOf(rawHeaders: RawHeaders): number {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length === 14 && rawHeaders[i]?.toLowerCase() === 'content-length')
      return Number(rawHeaders[i + 1])
  }
  return -1
}

function toOutcome({ kind }: CallOutcome): Outcome {
  if (kind === 'answered') return kind
  // The request broke off or the provider stopped the program: neither is the program's fault.
  if (kind === 'refused' || kind === 'stopped') return 'platform_fault'
  return `program_${kind}`
}
