import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { Writable } from 'node:stream'
import { hopByHopHeaders } from './headers.ts'
import type { OutgoingResponse } from './listener.ts'
import type { RawHeaders } from './upstream.ts'

type HeadersRecord = Readonly<Record<string, string | number | readonly string[] | undefined>>

/** The answer to a request that came over HTTP/2. A class, because it is a stream. */
export class H2Response extends Writable implements OutgoingResponse {
  statusCode = 200
  headersSent = false
  readonly #stream: ServerHttp2Stream
  #isBodiless = false
  #trailers: readonly [string, string][] = []

  constructor(stream: ServerHttp2Stream) {
    super()
    this.#stream = stream
    stream.on('close', () => this.destroy())
    stream.on('wantTrailers', () => {
      stream.sendTrailers(
        Object.fromEntries(this.#trailers.map(([name, value]) => [name.toLowerCase(), value])),
      )
    })
  }

  /**
   * @param headers - Names and values in turn, as they are; or a record, as frameworks give it.
   * @throws TypeError for what cannot stand in a head; then nothing has been sent.
   */
  writeHead(status: number, headers: RawHeaders | HeadersRecord = []): this {
    if (this.headersSent) throw new Error('The head has been written already.')
    if (this.destroyed) return this
    const head = formatHead(status, isRaw(headers) ? headers : flatten(headers))
    this.#stream.respond(head, { waitForTrailers: true })
    this.statusCode = status
    this.headersSent = true
    // Node ends the stream with such a head.
    this.#isBodiless = this.#stream.writableEnded
    return this
  }

  /** Lets a caller that asked first send its body. */
  writeContinue(): void {
    if (!this.destroyed && !this.headersSent) this.#stream.additionalHeaders({ ':status': 100 })
  }

  /** A head goes out as soon as it is written. */
  flushHeaders(): void {
    if (!this.headersSent) this.writeHead(this.statusCode)
  }

  addTrailers(trailers: readonly [string, string][]): void {
    this.#trailers = [...this.#trailers, ...trailers]
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.flushHeaders()
    if (this.#isBodiless) callback()
    else this.#stream.write(chunk, encoding, callback)
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.flushHeaders()
    if (this.#isBodiless) callback()
    else this.#stream.end(() => callback())
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    // Half an answer must not be taken for a whole one: `close`, whatever its code, ends the body first as if it were whole.
    if (!this.writableFinished) this.#stream.destroy(new Error('The answer was broken off.'))
    // As in node:http: only `close` tells that the caller has gone.
    callback(null)
  }
}

function isRaw(headers: RawHeaders | HeadersRecord): headers is RawHeaders {
  return Array.isArray(headers)
}

function flatten(headers: HeadersRecord): string[] {
  return Object.entries(headers).flatMap(([name, value]) => {
    if (value === undefined) return []
    return typeof value === 'object' ? value.flatMap((one) => [name, one]) : [name, String(value)]
  })
}

/** HTTP/2 writes names in lower case, and has none of the headers that concern a connection (RFC 9113 section 8.2.2). */
function formatHead(status: number, rawHeaders: RawHeaders): string[] {
  const head = [':status', String(status)]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!
    const lowerName = name.toLowerCase()
    if (hopByHopHeaders.has(lowerName)) continue
    const value = rawHeaders[index + 1]!
    validateHeaderName(name)
    validateHeaderValue(name, value)
    head.push(lowerName, value)
  }
  return head
}
