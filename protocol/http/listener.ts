import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import type { RawHeaders, Switch } from './upstream.ts'

/**
 * What a request handler may rely on, whether the request came over a socket (`node:http`) or through a tunnel. A
 * `http.RequestListener` that uses no more than this serves both.
 */
export interface IncomingRequest extends Readable {
  readonly method?: string | undefined
  /** Path and query. */
  readonly url?: string | undefined
  readonly rawHeaders: RawHeaders
  /** What came behind the body; complete once that has ended. */
  readonly rawTrailers?: RawHeaders
  /** Lower-case names; duplicates joined as Node does. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly socket: {
    readonly remoteAddress?: string | undefined
    /** Of the connection, or of the stream where there are several on it. */
    readonly bytesRead?: number
  }
  /** Set where the caller wants to go on in another protocol. See `Switch`. */
  readonly switchesTo?: Switch | undefined
  /** Set where the caller sends the body only once somebody reads it (`Expect: 100-continue`), and this end can tell. */
  readonly expectsContinue?: boolean
}

/** The answer to an `IncomingRequest`. `close` before `writableFinished` means that the caller has gone. */
export interface OutgoingResponse extends Writable {
  readonly headersSent: boolean
  readonly statusCode: number
  /**
   * Whether it closed because the way to the caller broke, and not because the caller left. A tunnel knows; a socket looks
   * the same from this end in both cases, and has no such field.
   */
  readonly isWayLost?: boolean
  /** @param rawHeaders - Name, value, name, value. */
  writeHead(status: number, rawHeaders: RawHeaders): this
  /** Sends the head, although no body has come yet. */
  flushHeaders(): void
  /** What is to follow the body, before `end`. Dropped where there is no place for it, as behind a body of known length. */
  addTrailers(trailers: readonly [string, string][]): void
}

export type RequestListener = (request: IncomingRequest, response: OutgoingResponse) => void

/** Node's response, whose typings do not know that `writeHead` leaves a list of headers as it is. */
export type HttpResponse = ServerResponse & OutgoingResponse
/** A `RequestListener` is one, too. */
export type HttpListenerFunction = (request: IncomingMessage, response: HttpResponse) => void
