import { Readable } from 'node:stream'
import type { RequestHead } from '../protocol/frames/head.ts'
import type { MuxStream } from '../protocol/frames/mux-stream.ts'
import { joinHeaders } from '../protocol/http/join-headers.ts'
import type { IncomingRequest } from '../protocol/http/listener.ts'
import type { RawHeaders, Switch } from '../protocol/http/upstream.ts'

/** What handlers written for `node:http` look for on a socket. */
export interface TunnelPeer {
  readonly remoteAddress: string | undefined
  readonly encrypted: boolean
  readonly destroyed: boolean
  destroy(): void
}

/** A request that came through a tunnel. A class, because it is a stream. */
export class TunnelRequest extends Readable implements IncomingRequest {
  readonly method: string
  readonly url: string
  readonly rawHeaders: string[]
  readonly rawTrailers: string[] = []
  readonly httpVersion = '1.1'
  readonly socket: TunnelPeer
  readonly switchesTo: Switch | undefined
  readonly expectsContinue: boolean
  #waitsForReader: boolean
  /** Whether all of it has come. */
  complete = false
  readonly #stream: MuxStream
  #headers: Record<string, string | string[]> | undefined
  #isDumped = false

  constructor({ head, stream, peer }: { head: RequestHead; stream: MuxStream; peer: TunnelPeer }) {
    super()
    this.method = head.method
    this.url = head.target
    this.rawHeaders = [...head.rawHeaders]
    this.socket = peer
    this.switchesTo = head.switchesTo
    this.expectsContinue = head.expectsContinue ?? false
    this.#waitsForReader = this.expectsContinue
    this.#stream = stream
  }

  get headers(): Record<string, string | string[]> {
    this.#headers ??= joinHeaders(this.rawHeaders)
    return this.#headers
  }

  /**
   * Says that a body of unknown length follows, in the way in which handlers look for one: a tunnel has framing of its
   * own, so nothing else in the head does.
   */
  announceBody(): void {
    // A short body may have come whole already, in one message with its head.
    const hasBody = !this.complete || this.readableLength > 0 || this.rawTrailers.length > 0
    if (!hasBody || this.switchesTo || this.headers['content-length'] !== undefined) return
    this.rawHeaders.push('transfer-encoding', 'chunked')
    this.#headers = undefined
  }

  receive(chunk: Buffer): void {
    if (this.destroyed || this.#isDumped) return
    if (!this.push(chunk)) this.#stream.pause()
  }

  receiveEnd(trailers: RawHeaders = []): void {
    this.rawTrailers.push(...trailers)
    this.complete = true
    if (!this.destroyed) this.push(null)
  }

  /** The caller has gone. */
  abort(): void {
    if (!this.complete) this.destroy(new Error('The caller has gone.'))
  }

  /** The answer is out: a body that nobody reads must not keep its stream. */
  dump(): void {
    if (this.readableFlowing === true) return
    this.#isDumped = true
    this.#stream.resume()
  }

  override _read(): void {
    if (this.#waitsForReader) {
      this.#waitsForReader = false
      this.#stream.askForBody()
    }
    this.#stream.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // As in node:http: a caller that goes is no error to a handler that does not listen for one.
    callback(this.listenerCount('error') > 0 ? error : null)
  }
}
