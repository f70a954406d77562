import type { Duplex, Readable } from 'node:stream'
import { KiB } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import type { RequestHead } from './request-head.ts'
import { formatLastChunk } from './trailers.ts'
import type { RawHeaders } from './upstream.ts'

export interface BodyEvents {
  /** All of the request has been handed to the socket. */
  onSent(): void
  onProgress(): void
  onError(error: ProtocolError): void
}

/** Up to here one string for head and body costs less than two buffers and a `writev`. */
const mergedBytesMax = 16 * KiB

/**
 * Writes a request with its body, no faster than the socket takes it.
 *
 * @returns how to stop: the source is then left paused, with what nobody has read still in it.
 */
export function sendBody(
  socket: Duplex,
  head: RequestHead,
  body: Readable | Buffer | undefined,
  events: BodyEvents,
): (() => void) | undefined {
  if (body !== undefined && !Buffer.isBuffer(body)) {
    // A body that has come already is read on the next tick: head and first part then leave together.
    socket.cork()
    socket.write(head.text, 'latin1')
    const stop = pump(socket, head, body, events)
    process.nextTick(() => socket.uncork())
    return stop
  }
  if (body === undefined || body.length === 0) socket.write(head.text, 'latin1')
  else if (body.length <= mergedBytesMax) socket.write(head.text + body.toString('latin1'), 'latin1')
  else {
    socket.write(head.text, 'latin1')
    socket.write(body)
  }
  events.onSent()
  return undefined
}

/**
 * After an answer 101: passes bytes on as they are, no faster than the socket takes them; the end of the source ends this
 * direction only.
 *
 * @returns how to stop, as `sendBody` does.
 */
export function sendRaw(
  socket: Duplex,
  source: Readable | Buffer | undefined,
  events: Pick<BodyEvents, 'onProgress' | 'onError'>,
): (() => void) | undefined {
  if (source === undefined || Buffer.isBuffer(source)) return undefined
  const onData = (chunk: Buffer) => {
    events.onProgress()
    if (!socket.write(chunk)) source.pause()
  }
  const onDrain = () => {
    events.onProgress()
    source.resume()
  }
  const onEnd = () => {
    stop()
    socket.end()
  }
  const onClose = () => {
    stop()
    events.onError(brokenBody('broke off'))
  }
  const stop = () => {
    source.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
    socket.off('drain', onDrain)
    source.pause()
  }
  socket.on('drain', onDrain)
  source.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  if (source.readableEnded) queueMicrotask(onEnd)
  else if (source.destroyed) queueMicrotask(onClose)
  else source.resume()
  return stop
}

/** The body alone, of a request whose head has gone. @returns how to stop, as `sendBody` does. */
export function pump(socket: Duplex, head: RequestHead, body: Readable, events: BodyEvents): () => void {
  let sentBytes = 0
  let isStopped = false
  const onData = (chunk: Buffer) => {
    // Somebody who heard of the same piece before may have stopped this, and reads on.
    if (isStopped) return
    sentBytes += chunk.length
    if (head.lengthBytes !== undefined && sentBytes > head.lengthBytes) return fail('is longer than it said')
    events.onProgress()
    if (!write(socket, head, chunk)) body.pause()
  }
  const onDrain = () => {
    events.onProgress()
    body.resume()
  }
  const onEnd = () => {
    if (head.lengthBytes !== undefined && sentBytes < head.lengthBytes) return fail('is shorter than it said')
    if (head.isChunked) socket.write(formatLastChunk(trailersOf(body)), 'latin1')
    stop()
    events.onSent()
  }
  const onClose = () => fail('broke off')
  const stop = () => {
    isStopped = true
    body.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose)
    socket.off('drain', onDrain)
    body.pause()
  }
  const fail = (what: string) => {
    stop()
    events.onError(brokenBody(what))
  }
  socket.on('drain', onDrain)
  body.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose)
  // A stream that has ended or died says so only once, to whoever listened then.
  if (body.readableEnded) queueMicrotask(onEnd)
  else if (body.destroyed) queueMicrotask(onClose)
  else body.resume()
  return stop
}

/** A request whose trailers may go on with its body. */
const trailersOf = (body: Readable) => (body as { rawTrailers?: RawHeaders }).rawTrailers

function write(socket: Duplex, head: RequestHead, chunk: Buffer): boolean {
  if (!head.isChunked) return socket.write(chunk)
  if (chunk.length === 0) return true
  socket.cork()
  socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
  socket.write(chunk)
  const hasRoom = socket.write('\r\n', 'latin1')
  socket.uncork()
  return hasRoom
}

function brokenBody(what: string): ProtocolError {
  return new ProtocolError('bad_request', `The request body ${what}.`, { hint: 'Send the whole body.' })
}
