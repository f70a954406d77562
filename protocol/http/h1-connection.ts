import type { Duplex } from 'node:stream'
import { isProtocolError, ProtocolError } from '../errors.ts'
import { pump, sendBody, sendRaw } from './h1-body.ts'
import { formatRequestHead } from './request-head.ts'
import { createResponseParser } from './response-parser.ts'
import type { RawHeaders, UpstreamHandler, UpstreamRequest } from './upstream.ts'

/** A request on its way, whichever connection carries it. */
export interface Job {
  readonly request: UpstreamRequest
  readonly handler: UpstreamHandler
  /** What carries it now; undefined while it waits and after it is over. */
  connection: Connection | undefined
  isPaused: boolean
  isOver: boolean
  /** Whether it was sent again already because a kept connection had gone stale. */
  isRetried: boolean
}

/** One HTTP/1.1 connection that carries one request at a time. */
export interface Connection {
  begin(job: Job): void
  pause(): void
  resume(): void
  /** Ends the connection; a job on it hears nothing any more. */
  destroy(): void
  /** Ends the connection and tells its job why. */
  fail(error: ProtocolError): void
  readonly isBusy: boolean
  /** Whether the head of the answer to the job has come. */
  readonly isAnswered: boolean
  /** How often the pool's timer came by since a byte moved; the pool resets nothing, the connection does. */
  ticksIdle: number
}

export interface ConnectionEvents {
  /** The job has ended and the connection is free. */
  onFree(connection: Connection): void
  /** The connection is gone, with the job that it carried, if any: the pool decides what the job is told. */
  onGone(connection: Connection, lost?: LostJob): void
}

/** A job whose connection has gone before its end. */
export interface LostJob {
  readonly job: Job
  readonly error: ProtocolError
  /** Whether a kept connection broke before any byte of the answer. */
  readonly isStale: boolean
  /** Whether the connection never stood, so that nothing of the job has left. */
  readonly isUntaken: boolean
}

/** Takes over a byte stream, open or still opening, and speaks HTTP/1.1 on it. */
export function createConnection(
  socket: Duplex,
  events: ConnectionEvents,
  { continueTimeoutMs }: { readonly continueTimeoutMs: number },
): Connection {
  let job: Job | undefined
  let jobsBefore = 0
  let isGone = false
  let isAnswered = false
  let stopBody: (() => void) | undefined
  let isBodySent = true
  let sendHeldBody: (() => void) | undefined
  let holding: NodeJS.Timeout | undefined
  // What a socket that is still connecting was given to write has not left.
  let isOpen = !isConnecting(socket)
  socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
    isOpen = true
  })

  const parser = createResponseParser({
    onContinue: () => sendHeldBody?.(),
    onHead(head) {
      isAnswered = true
      dropHeldBody()
      if (head.status === 101 && job) stopBody = sendRaw(socket, job.request.body, bodyEvents)
      job?.handler.onHead(head.status, head.rawHeaders)
    },
    onData: (chunk) => job?.handler.onData(chunk),
    onEnd: (reusable, trailers) => finish(reusable && isBodySent, trailers),
    onError: (error) => leave(error),
  })

  const bodyEvents = {
    onSent() {
      isBodySent = true
    },
    onProgress() {
      connection.ticksIdle = 0
    },
    onError: (error: ProtocolError) => leave(error),
  }

  /** The server has answered without the body, or is gone. */
  function dropHeldBody(): void {
    clearTimeout(holding)
    sendHeldBody = undefined
  }

  function finish(reusable: boolean, trailers: RawHeaders | undefined): void {
    const finished = job
    job = undefined
    jobsBefore++
    stopBody?.()
    stopBody = undefined
    if (finished) finished.isOver = true
    if (finished) finished.connection = undefined
    // A paused socket in the pool would hear neither the next answer nor its own end.
    if (socket.isPaused()) socket.resume()
    if (reusable) events.onFree(connection)
    else leave()
    finished?.handler.onEnd(trailers)
  }

  /** The one way out of life. */
  function leave(error?: ProtocolError): void {
    if (isGone) return
    isGone = true
    const isStale = jobsBefore > 0 && !parser.started
    const lost = job
    job = undefined
    if (lost) lost.connection = undefined
    stopBody?.()
    stopBody = undefined
    dropHeldBody()
    parser.stop()
    socket.destroy()
    events.onGone(connection, lost && error && { job: lost, error, isStale, isUntaken: !isOpen })
  }

  function closed(cause?: unknown): void {
    if (isGone) return
    parser.close()
    leave(isProtocolError(cause) ? cause : lostError(parser.started, cause))
  }

  const connection: Connection = {
    ticksIdle: 0,
    get isBusy() {
      return job !== undefined
    },
    get isAnswered() {
      return isAnswered
    },
    begin(next) {
      const { method, body, switchesTo, onBodyWanted } = next.request
      const isHeld = onBodyWanted !== undefined && body !== undefined && !Buffer.isBuffer(body)
      const head = formatRequestHead(next.request)
      job = next
      next.connection = connection
      isAnswered = false
      connection.ticksIdle = 0
      parser.expect(method, switchesTo)
      if (next.isPaused) socket.pause()
      isBodySent = false
      // What comes before the answer 101 would be read as another request by a server that does not switch.
      stopBody = sendBody(socket, head, switchesTo || isHeld ? undefined : body, bodyEvents)
      if (!isHeld) return
      // A server that answers without it may still wait for it: only a body that was sent ends the request.
      isBodySent = false
      sendHeldBody = () => {
        dropHeldBody()
        onBodyWanted()
        stopBody = pump(socket, head, body, bodyEvents)
      }
      if (continueTimeoutMs < Number.POSITIVE_INFINITY)
        holding = setTimeout(() => sendHeldBody?.(), continueTimeoutMs).unref()
    },
    pause: () => void socket.pause(),
    resume() {
      connection.ticksIdle = 0
      socket.resume()
    },
    destroy() {
      job = undefined
      leave()
    },
    fail: leave,
  }

  socket.on('data', (chunk: Buffer) => {
    connection.ticksIdle = 0
    parser.push(chunk)
  })
  socket.on('error', closed)
  socket.on('end', () => closed())
  socket.on('close', () => closed())
  return connection
}

/** A socket that was refused before it was dialled is not open either. */
function isConnecting(socket: Duplex): boolean {
  const { connecting, secureConnecting } = socket as { connecting?: boolean; secureConnecting?: boolean }
  return connecting === true || secureConnecting === true || socket.destroyed
}

function lostError(started: boolean, cause: unknown): ProtocolError {
  const message = started
    ? 'The connection broke in the middle of the answer.'
    : 'The connection broke before an answer came.'
  return new ProtocolError('provider_unreachable', message, {
    hint: 'Send the request again if it may run twice.',
    cause,
  })
}
