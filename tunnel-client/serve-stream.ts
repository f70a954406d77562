import type { Log } from '../protocol/base/log.ts'
import { isProtocolError, toProtocolError } from '../protocol/errors.ts'
import { parseRequestHead, parseTrailers, type RequestHead } from '../protocol/frames/head.ts'
import type { MuxStream, StreamHandler } from '../protocol/frames/mux-stream.ts'
import type { ResetReason } from '../protocol/frames/reset-code.ts'
import type { RequestListener } from '../protocol/http/listener.ts'
import { sendProblem } from '../protocol/http/problem-response.ts'
import type { TakenStreams } from './taken-streams.ts'
import { type TunnelPeer, TunnelRequest } from './tunnel-request.ts'
import { TunnelResponse } from './tunnel-response.ts'

export interface ServeOptions {
  readonly log: Log
  readonly handler: RequestListener
  readonly taken: TakenStreams
  readonly remoteAddress: string | undefined
  /** Whether new requests are to go elsewhere. */
  readonly isLeaving: () => boolean
}

/** Takes one request from a tunnel, or refuses it, and says which before the handler runs anything. */
export function serveStream(options: ServeOptions, stream: MuxStream, text: string): StreamHandler {
  if (options.isLeaving()) {
    stream.reset('refused')
    return nobody
  }
  let head: RequestHead
  try {
    head = parseRequestHead(text)
  } catch (error) {
    if (!isProtocolError(error)) throw error
    options.log.warn('request_refused', { error: error.message })
    stream.reset('head_invalid')
    return nobody
  }
  // Every attempt is looked up, because each lookup also cuts the connection it came on.
  const takenBefore = head.lostAttempts.filter((attempt) => options.taken.mayHaveTaken(attempt))
  if (takenBefore.length > 0) {
    stream.reset('already_taken')
    return nobody
  }
  stream.accept()
  return runHandler(options, stream, head)
}

function runHandler(
  { log, handler, remoteAddress }: ServeOptions,
  stream: MuxStream,
  head: RequestHead,
): StreamHandler {
  const response = new TunnelResponse({
    stream,
    method: head.method,
    maySwitch: head.switchesTo !== undefined,
  })
  const request = new TunnelRequest({ head, stream, peer: new CallerOf(response, remoteAddress) })
  response.once('finish', () => request.dump())
  const abort = () => {
    request.abort()
    response.destroy()
  }
  const loseWay = () => {
    response.loseWay()
    abort()
  }
  // After the caller of this function has set the stream up: a whole body is already there for the handler then.
  queueMicrotask(() => {
    if (response.destroyed) return
    request.announceBody()
    try {
      handler(request, response)
    } catch (error) {
      log.error('request_failed', { error: String(error) })
      sendProblem(response, toProtocolError(error))
    }
  })
  return {
    ...nobody,
    onData: (chunk) => request.receive(chunk),
    onEnd(trailers) {
      try {
        request.receiveEnd(parseTrailers(trailers, 'caller'))
      } catch {
        // Whoever speaks for the gateway breaks the rules: nobody can tell what was asked.
        stream.reset('head_invalid')
        loseWay()
      }
    },
    onDrain: () => response.onDrain(),
    onReset: (reason) => (isCallers(reason) ? abort() : loseWay()),
    onLost: loseWay,
  }
}

/** A class, not a literal with an accessor: see decision 110. */
class CallerOf implements TunnelPeer {
  readonly encrypted = false
  readonly remoteAddress: string | undefined
  readonly #response: TunnelResponse

  constructor(response: TunnelResponse, remoteAddress: string | undefined) {
    this.#response = response
    this.remoteAddress = remoteAddress
  }

  get destroyed(): boolean {
    return this.#response.destroyed
  }

  destroy(): void {
    this.#response.destroy()
  }
}

/** A caller left, or read so slowly that too much waited for it; all else is between the two ends of the tunnel. */
const isCallers = (reason: ResetReason) => reason === 'cancelled' || reason === 'overloaded'

const nobody: StreamHandler = {
  onHead() {},
  onAccept() {},
  onData() {},
  onEnd() {},
  onDrain() {},
  onReset() {},
  onLost() {},
}
