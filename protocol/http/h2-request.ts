import type { ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { joinHeaders } from './join-headers.ts'
import type { IncomingRequest } from './listener.ts'
import type { RawHeaders } from './upstream.ts'

/** What handlers written for `node:http` look for on a socket. */
export interface H2Peer {
  readonly remoteAddress: string | undefined
  readonly encrypted: boolean
  /** Of bodies, on this stream. */
  bytesRead: number
  readonly destroyed: boolean
  destroy(): void
}

/**
 * A request that came over HTTP/2, in the words of HTTP/1.1 (RFC 9113 section 8.3.1): the authority is its `Host`, a body of
 * unknown length is announced as chunked. So whatever checks, limits and forwards requests needs to know one form only. A
 * class, because it is a stream.
 */
export class H2Request extends Readable implements IncomingRequest {
  readonly method: string
  url: string
  readonly rawHeaders: string[]
  readonly headers: Record<string, string | string[]>
  readonly httpVersion = '2.0'
  readonly socket: H2Peer
  readonly rawTrailers: string[] = []
  /** Whether all of it has come. */
  complete: boolean
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream, rawHeaders: RawHeaders, peer: H2Peer) {
    super()
    const head = readHead(rawHeaders, { hasBody: !stream.endAfterHeaders })
    this.method = head.method
    this.url = head.target
    this.rawHeaders = head.rawHeaders
    this.headers = joinHeaders(head.rawHeaders)
    this.socket = peer
    this.complete = stream.endAfterHeaders
    this.#stream = stream
    stream.on('close', () => this.destroy())
    if (this.complete) {
      stream.resume()
      this.push(null)
      return
    }
    stream.on('trailers', (_headers, _flags, rawTrailers: string[] = []) => {
      this.rawTrailers.push(...rawTrailers)
    })
    stream.on('data', (chunk: Buffer) => {
      peer.bytesRead += chunk.length
      if (!this.push(chunk)) stream.pause()
    })
    stream.on('end', () => {
      // A stream that was reset ends, too; what is left of its body never comes.
      if (stream.aborted) return
      this.complete = true
      this.push(null)
    })
    stream.pause()
  }

  override _read(): void {
    this.#stream.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Nobody wants the rest of it: the caller need not send it, and the answer goes on.
    if (!this.complete && this.#stream.writableEnded) this.#stream.close()
    // As in node:http: a caller that goes is no error to a handler that does not listen for one.
    callback(this.listenerCount('error') > 0 ? error : null)
  }
}

interface RequestHead {
  readonly method: string
  readonly target: string
  readonly rawHeaders: string[]
}

function readHead(rawHeaders: RawHeaders, { hasBody }: { readonly hasBody: boolean }): RequestHead {
  const pseudo: Record<string, string> = Object.create(null)
  const fields: string[] = []
  let cookie: string | undefined
  let hasLength = false
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const value = rawHeaders[index + 1]!
    if (name.startsWith(':')) pseudo[name] = value
    // HTTP/2 may send a cookie in pieces, HTTP/1.1 may not (RFC 9113 section 8.2.3).
    else if (name === 'cookie') cookie = cookie === undefined ? value : `${cookie}; ${value}`
    // Both may be there; that they say the same is checked where hosts are.
    else if (name !== 'host' || value !== pseudo[':authority']) fields.push(name, value)
    if (name === 'content-length') hasLength = true
  }
  const authority = pseudo[':authority']
  return {
    method: pseudo[':method'] ?? '',
    target: pseudo[':path'] ?? '',
    rawHeaders: [
      ...(authority === undefined ? [] : ['host', authority]),
      ...fields,
      ...(cookie === undefined ? [] : ['cookie', cookie]),
      ...(hasBody && !hasLength ? ['transfer-encoding', 'chunked'] : []),
    ],
  }
}
