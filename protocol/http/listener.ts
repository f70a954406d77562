import type { Readable, Writable } from 'node:stream'
import type { RawHeaders } from './upstream.ts'

/**
 * What a request handler may rely on, whether the request came over a socket (`node:http`) or through a tunnel. A
 * `http.RequestListener` that uses no more than this serves both.
 */
export interface IncomingRequest extends Readable {
  readonly method?: string | undefined
  /** Path and query. */
  readonly url?: string | undefined
  readonly rawHeaders: RawHeaders
  /** Lower-case names; duplicates joined as Node does. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly socket: { readonly remoteAddress?: string | undefined }
}

/** The answer to an `IncomingRequest`. `close` before `writableFinished` means that the caller has gone. */
export interface OutgoingResponse extends Writable {
  readonly headersSent: boolean
  /**
   * Whether it closed because the way to the caller broke, and not because the caller left. A tunnel knows; a socket looks
   * the same from this end in both cases, and has no such field.
   */
  readonly isWayLost?: boolean
  /** @param rawHeaders - Name, value, name, value. */
  writeHead(status: number, rawHeaders: RawHeaders): this
}

export type RequestListener = (request: IncomingRequest, response: OutgoingResponse) => void
