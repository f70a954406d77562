import type { Readable } from 'node:stream'
import type { ProtocolError } from '../errors.ts'

/** Header names and values in turn, as Node's `rawHeaders`: order, case and duplicates survive. */
export type RawHeaders = readonly string[]

/**
 * A protocol that a request asks for (RFC 9110 section 7.8). Whoever answers 101 gets raw bytes from then on: the stream of
 * the request is what the caller sends, and what is written to the response is what it gets. Nothing is to be read of the
 * request before, and any other answer is an ordinary one.
 */
export type Switch = 'websocket'

/**
 * Somewhere an HTTP request can be sent: a pool of HTTP/1.1 connections, or a tunnel. Callbacks rather than
 * promises and web streams, because this is the hot path of gateway and provider.
 */
export interface Upstream {
  /**
   * Sends one request. Exactly one of `onEnd` and `onError` is called in the end, unless `abort` was called first.
   * `onHead` may be called from inside `send`.
   */
  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamExchange
}

export interface UpstreamRequest {
  readonly method: string
  /** Path and query, in origin form. */
  readonly target: string
  /** End-to-end headers only, with `host`; framing headers are the upstream's own affair. */
  readonly rawHeaders: RawHeaders
  /** Absent where there is none; a buffer is sent with the head. Its size is in `content-length` if it is known. */
  readonly body?: Readable | Buffer
  /** Asks to go on in another protocol. `body` is then what follows the answer 101, raw, and is not touched before it. */
  readonly switchesTo?: Switch | undefined
  /**
   * Has a `body` wait until the far side asks for it (100 Continue), or says nothing for a while; then this is called, once
   * for each try. It is not where the answer comes first.
   */
  readonly onBodyWanted?: (() => void) | undefined
}

export interface UpstreamHandler {
  /**
   * The final response head (other 1xx are dropped). Hop-by-hop and framing headers but `content-length` are gone. 101 only
   * where the request asked to switch; what follows is raw then, and ends when the far side ends it.
   */
  onHead(status: number, rawHeaders: RawHeaders): void
  /** A part of the body. The buffer is the handler's to keep. */
  onData(chunk: Buffer): void
  /** @param rawTrailers - What followed the body, unless that was nothing; unchecked but for their syntax. */
  onEnd(rawTrailers?: RawHeaders): void
  /**
   * Before the head or in the middle of the body; nothing follows.
   *
   * @param isUntaken - That the far side has surely not begun with the request: nothing of it had left, or it said so.
   */
  onError(error: ProtocolError, isUntaken?: boolean): void
}

/** The running exchange, for the side that receives the response. */
export interface UpstreamExchange {
  /** Stops `onData` soon (a little may still come): back-pressure. */
  pause(): void
  resume(): void
  /** Gives up: no callback is called any more, and the far side is told where the protocol can tell it. */
  abort(): void
}
