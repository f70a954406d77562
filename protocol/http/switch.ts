import { type IncomingMessage, STATUS_CODES } from 'node:http'
import { type Duplex, Readable, Writable } from 'node:stream'
import { limits } from '../limits.ts'
import { drainBody } from './drain-body.ts'
import { isHeaderValue, isToken } from './header-syntax.ts'
import { hopByHopHeaders } from './headers.ts'
import type { IncomingRequest, OutgoingResponse } from './listener.ts'
import type { RawHeaders } from './upstream.ts'

/**
 * A WebSocket handshake of Node's `upgrade` event as request and response, so that it takes the way of all others. What a
 * handler does not answer with 101, it answers as usual, and the connection ends with it.
 *
 * @param lingerMs - How long a caller may take to close once all has been said.
 */
export function openSwitch(
  message: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  lingerMs: number = limits.switchLingerMs,
): { readonly request: SwitchRequest; readonly response: SwitchResponse } {
  if (head.length > 0) socket.unshift(head)
  const request = new SwitchRequest(message, socket)
  const response = new SwitchResponse(socket, lingerMs)
  request.once('left', () => {
    // Whoever goes before the answer has no use for it; later it is only this direction that ends.
    if (!response.headersSent) response.destroy()
  })
  response.once('finish', () => {
    // Closing at once could make the caller's system throw away what it has not read yet.
    drainBody(request)
  })
  return { request, response }
}

/** The request, and then what the caller sends. A class, because it is a stream. */
export class SwitchRequest extends Readable implements IncomingRequest {
  readonly switchesTo = 'websocket'
  readonly method: string | undefined
  readonly url: string | undefined
  readonly rawHeaders: string[]
  readonly headers: IncomingMessage['headers']
  readonly httpVersion: string
  readonly socket: IncomingMessage['socket']
  /** Whether the caller will send no more. */
  complete = false
  readonly #source: Duplex

  constructor(message: IncomingMessage, source: Duplex) {
    super()
    this.method = message.method
    this.url = message.url
    this.rawHeaders = message.rawHeaders
    this.headers = message.headers
    this.httpVersion = message.httpVersion
    this.socket = message.socket
    this.#source = source
    source.on('data', (chunk: Buffer) => {
      if (!this.destroyed && !this.push(chunk)) source.pause()
    })
    source.on('end', () => {
      this.complete = true
      if (!this.destroyed) this.push(null)
      this.emit('left')
    })
    source.on('close', () => {
      if (!this.complete) this.destroy()
    })
  }

  override _read(): void {
    this.#source.resume()
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.complete) this.#source.destroy()
    // As in node:http: a caller that goes is no error to a handler that does not listen for one.
    callback(null)
  }
}

/** The answer, and then what the caller gets. A class, because it is a stream. */
export class SwitchResponse extends Writable implements OutgoingResponse {
  statusCode = 200
  headersSent = false
  readonly #socket: Duplex
  readonly #lingerMs: number
  #isChunked = false
  #onRoom: (() => void) | undefined

  constructor(socket: Duplex, lingerMs: number) {
    super()
    this.#socket = socket
    this.#lingerMs = lingerMs
    socket.on('drain', () => {
      const onRoom = this.#onRoom
      this.#onRoom = undefined
      onRoom?.()
    })
    socket.on('close', () => this.destroy())
  }

  /** @throws TypeError for a head that cannot be written. */
  writeHead(status: number, rawHeaders: RawHeaders): this {
    if (this.headersSent) throw new TypeError('The head has been written already.')
    if (!Number.isInteger(status) || (status !== 101 && status < 200) || status > 599) {
      throw new TypeError(`Status ${status} ends no handshake.`)
    }
    let hasLength = false
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Other'}\r\n`
    for (let index = 0; index < rawHeaders.length; index += 2) {
      const name = rawHeaders[index]!
      const value = rawHeaders[index + 1] ?? ''
      if (!isToken(name) || !isHeaderValue(value)) throw new TypeError('A header is malformed.')
      const lowerName = name.toLowerCase()
      if (hopByHopHeaders.has(lowerName)) continue
      if (lowerName === 'content-length') hasLength = true
      if (status !== 101 || lowerName !== 'content-length') text += `${name}: ${value}\r\n`
    }
    this.statusCode = status
    this.headersSent = true
    this.#isChunked = status !== 101 && !hasLength && !this.#hasNoBody()
    if (this.#isChunked) text += 'transfer-encoding: chunked\r\n'
    text += status === 101 ? 'connection: Upgrade\r\nupgrade: websocket\r\n' : 'connection: close\r\n'
    this.#socket.write(`${text}\r\n`, 'latin1')
    return this
  }

  /** It has left with `writeHead`. */
  flushHeaders(): void {}

  /** A connection that switches or ends has no use for them. */
  addTrailers(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    if (!this.headersSent) this.writeHead(this.statusCode, [])
    if (this.#hasNoBody() || this.#writeFramed(chunk)) callback()
    else this.#onRoom = callback
  }

  override _final(callback: () => void): void {
    if (!this.headersSent) this.writeHead(this.statusCode, ['content-length', '0'])
    if (this.#isChunked) this.#socket.write('0\r\n\r\n', 'latin1')
    this.#socket.end(() => callback())
    // Nobody is waited for who neither reads the rest nor closes.
    setTimeout(() => this.#socket.destroy(), this.#lingerMs).unref()
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.writableFinished) this.#socket.destroy()
    // As in node:http: only `close` tells that the caller has gone.
    callback(null)
  }

  #hasNoBody(): boolean {
    return this.statusCode === 204 || this.statusCode === 304
  }

  #writeFramed(chunk: Buffer): boolean {
    if (!this.#isChunked) return this.#socket.write(chunk)
    if (chunk.length === 0) return true
    this.#socket.cork()
    this.#socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
    this.#socket.write(chunk)
    const hasRoom = this.#socket.write('\r\n', 'latin1')
    this.#socket.uncork()
    return hasRoom
  }
}
