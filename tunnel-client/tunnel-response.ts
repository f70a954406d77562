import { Writable } from 'node:stream'
import { formatResponseHead, formatTrailers, isHopByHop } from '../protocol/frames/head.ts'
import type { MuxStream } from '../protocol/frames/mux-stream.ts'
import type { OutgoingResponse } from '../protocol/http/listener.ts'
import { limits } from '../protocol/limits.ts'

type HeaderValue = string | number | readonly string[]
/** All shapes of headers that `node:http` takes. */
export type HeadersLike = readonly unknown[] | Readonly<Record<string, HeaderValue | undefined>>

/**
 * The answer to a request that came through a tunnel. It does what handlers written for `node:http` rely on; the head
 * waits for the first byte or the end, so that a small answer is one frame. A class, because it is a stream.
 */
export class TunnelResponse extends Writable implements OutgoingResponse {
  statusCode = 200
  headersSent = false
  isWayLost = false
  readonly #stream: MuxStream
  readonly #isHead: boolean
  readonly #maySwitch: boolean
  /** What `setHeader` gave. */
  #headers: Map<string, { name: string; value: HeaderValue }> | undefined
  #rawHeaders: string[] | undefined
  #isWhole = false
  readonly #trailers: string[] = []
  #onRoom: (() => void) | undefined

  /** @param maySwitch - Whether the request asked for another protocol, so that it may be answered 101. */
  constructor({
    stream,
    method,
    maySwitch = false,
  }: {
    stream: MuxStream
    method: string
    maySwitch?: boolean
  }) {
    super({ decodeStrings: true, highWaterMark: limits.streamQueueBytesMax })
    this.#maySwitch = maySwitch
    this.#stream = stream
    this.#isHead = method === 'HEAD'
  }

  /** @throws RangeError for a status that ends no exchange. */
  writeHead(status: number, reasonOrHeaders?: string | HeadersLike, headers?: HeadersLike): this {
    if (this.headersSent || this.#rawHeaders) throw new Error('The head has been written already.')
    const isSwitch = status === 101 && this.#maySwitch
    if (!isSwitch && (!Number.isInteger(status) || status < 200 || status > 599)) {
      throw new RangeError(`Status ${status}`)
    }
    this.statusCode = status
    const given = typeof reasonOrHeaders === 'string' ? headers : (reasonOrHeaders ?? headers)
    this.#rawHeaders = this.#merge(toRawHeaders(given ?? []))
    // Nobody speaks the other protocol before.
    if (isSwitch) this.flushHeaders()
    return this
  }

  setHeader(name: string, value: HeaderValue): this {
    this.#headers ??= new Map()
    this.#headers.set(name.toLowerCase(), { name, value })
    return this
  }

  getHeader(name: string): HeaderValue | undefined {
    return this.#headers?.get(name.toLowerCase())?.value
  }

  hasHeader(name: string): boolean {
    return this.#headers?.has(name.toLowerCase()) ?? false
  }

  removeHeader(name: string): void {
    this.#headers?.delete(name.toLowerCase())
  }

  flushHeaders(): void {
    if (this.headersSent || this.destroyed) return
    this.#stream.sendHead(this.#formatHead())
  }

  addTrailers(trailers: readonly [string, string][]): void {
    this.#trailers.push(...trailers.flat())
  }

  /** The tunnel went, or the gateway gave up: nobody can say what the caller wants. */
  loseWay(): void {
    this.isWayLost = true
  }

  /** The stream has room again. */
  onDrain(): void {
    const onRoom = this.#onRoom
    this.#onRoom = undefined
    onRoom?.()
  }

  override end(...args: readonly unknown[]): this {
    const callback = args.find((arg): arg is () => void => typeof arg === 'function')
    const [chunk, encoding] = args
    // What is corked comes first.
    const isBegun = this.headersSent || this.#trailers.length > 0 || this.writableLength > 0
    if (isBegun || this.destroyed || this.writableEnded) {
      return super.end(...(args as []))
    }
    this.#isWhole = true
    const body = this.#hasNoBody() ? undefined : toBytes(chunk, encoding)
    if (!this.#hasNoBody()) this.#announceLength(body?.length ?? 0)
    this.#stream.sendWhole(this.#formatHead(), body)
    return super.end(callback)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.flushHeaders()
    if (this.#hasNoBody() || this.#stream.write(chunk)) callback()
    else this.#onRoom = callback
  }

  override _final(callback: (error?: Error | null) => void): void {
    if (!this.#isWhole) this.#stream.end(formatTrailers(this.#trailers))
    callback()
  }

  override _destroy(_error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.writableFinished) this.#stream.reset('cancelled')
    // As in node:http: only `close` tells that the caller has gone.
    callback(null)
  }

  #hasNoBody(): boolean {
    return this.#isHead || this.statusCode === 204 || this.statusCode === 304
  }

  /** A caller that knows the length can tell a whole answer from a broken one. */
  #announceLength(bytes: number): void {
    this.#rawHeaders ??= this.#merge([])
    const isAnnounced = this.#rawHeaders.some(
      (name, index) => index % 2 === 0 && name.length === 14 && name.toLowerCase() === 'content-length',
    )
    if (!isAnnounced) this.#rawHeaders.push('content-length', String(bytes))
  }

  #formatHead(): string {
    this.#rawHeaders ??= this.#merge([])
    this.headersSent = true
    try {
      return formatResponseHead({ status: this.statusCode, rawHeaders: this.#rawHeaders })
    } catch (error) {
      // Nobody can be told anything else any more; the handler hears why.
      this.destroy()
      throw error
    }
  }

  /** What `setHeader` gave, unless `writeHead` gives it too. */
  #merge(rawHeaders: string[]): string[] {
    if (!this.#headers?.size) return rawHeaders
    const given = new Set(rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()))
    const set = [...this.#headers].filter(([lowerName]) => !given.has(lowerName))
    return [...toRawHeaders(set.flatMap(([, { name, value }]) => [name, value])), ...rawHeaders]
  }
}

/** Flat names and values without those of one connection; from a flat list, a list of pairs, or a record. */
function toRawHeaders(headers: HeadersLike): string[] {
  const flat = Array.isArray(headers)
    ? Array.isArray(headers[0])
      ? (headers as readonly (readonly unknown[])[]).flatMap((pair) => [pair[0], pair[1]])
      : (headers as readonly unknown[])
    : Object.entries(headers).flat(1)
  const rawHeaders: string[] = []
  for (let index = 0; index < flat.length; index += 2) {
    const name = String(flat[index])
    const value = flat[index + 1]
    if (value === undefined || isHopByHop(name)) continue
    if (Array.isArray(value)) for (const one of value) rawHeaders.push(name, String(one))
    else rawHeaders.push(name, String(value))
  }
  return rawHeaders
}

function toBytes(chunk: unknown, encoding: unknown): Buffer | undefined {
  if (typeof chunk === 'string') {
    return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
  }
  if (!(chunk instanceof Uint8Array)) return undefined
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}
