import type { Duplex } from 'node:stream'
import { isProtocolError, ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Connection, createConnection, type Job, type LostJob } from './h1-connection.ts'
import type { Upstream, UpstreamRequest } from './upstream.ts'

export interface HttpPoolOptions {
  /**
   * Opens a byte stream to the server; it may still be connecting. An error that it emits is told to the request,
   * as it is where it is a `ProtocolError`, else as `provider_unreachable`.
   */
  readonly connect: () => Duplex
  readonly connectionsMax: number
  /** Requests that wait for a connection; one more gets `provider_busy`. */
  readonly requestsWaitingMax?: number
  /** From the last byte of the request to the head of the answer; then `call_timeout`. */
  readonly firstByteTimeoutMs?: number
  /** How long a body waits for 100 Continue before it is sent all the same; without end where that always comes. */
  readonly continueTimeoutMs?: number
  /** Without any byte moving once the head has come; then `call_stalled`. */
  readonly idleTimeoutMs?: number
  /** How long a connection without a request is kept. */
  readonly keepAliveMs?: number
}

/** Connections to one server, made as they are needed and kept for the next request. */
export interface HttpPool extends Upstream, Disposable {
  /** Requests that have been sent or wait, and have not ended. */
  readonly inFlight: number
  /** Ends every connection and every request; whoever sends afterwards gets `provider_unreachable`. */
  close(): void
}

/**
 * A strict HTTP/1.1 client over any byte stream: one request at a time on each connection, the connection that was
 * used last first. A request is sent a second time only where it has no body, is safe (`GET`, `HEAD`, `OPTIONS`) and
 * a kept connection broke before any byte of the answer came.
 */
export function createHttpPool(options: HttpPoolOptions): HttpPool {
  const { connect, connectionsMax } = options
  const requestsWaitingMax = options.requestsWaitingMax ?? limits.requestsWaitingPerUpstreamMax
  const firstByteTimeoutMs = options.firstByteTimeoutMs ?? limits.firstByteTimeoutMs
  const idleTimeoutMs = options.idleTimeoutMs ?? limits.idleTimeoutMs
  const keepAliveMs = options.keepAliveMs ?? limits.upstreamKeepAliveMs
  const continueTimeoutMs = options.continueTimeoutMs ?? limits.continueTimeoutMs
  const tickMs = Math.max(5, Math.min(1_000, firstByteTimeoutMs / 4, idleTimeoutMs / 4, keepAliveMs / 4))

  const connections = new Set<Connection>()
  const free: Connection[] = []
  const waiting = new Set<Job>()
  let busy = 0
  let isClosed = false
  let timer: NodeJS.Timeout | undefined

  const events = {
    onFree(connection: Connection) {
      busy--
      free.push(connection)
      startWaiting()
    },
    onGone(connection: Connection, lost?: LostJob) {
      connections.delete(connection)
      const index = free.indexOf(connection)
      if (index >= 0) free.splice(index, 1)
      else busy--
      if (lost) settle(lost)
      startWaiting()
      if (connections.size === 0) stopTimer()
    },
  }

  function settle({ job, error, isStale, isUntaken }: LostJob): void {
    if (job.isOver) return
    if (isStale && !isClosed && !job.isRetried && mayBeSentAgain(job.request, error)) {
      job.isRetried = true
      start(job, open())
    } else {
      job.isOver = true
      job.handler.onError(error, isUntaken && !job.isRetried)
    }
  }

  function open(): Connection {
    const connection = createConnection(connect(), events, { continueTimeoutMs })
    connections.add(connection)
    timer ??= setInterval(checkTimeouts, tickMs).unref()
    return connection
  }

  function start(job: Job, connection: Connection): void {
    busy++
    try {
      connection.begin(job)
    } catch (error) {
      if (!isProtocolError(error)) throw error
      busy--
      free.push(connection)
      refuse(job, error)
    }
  }

  function startWaiting(): void {
    for (const job of waiting) {
      const connection = free.pop() ?? (connections.size < connectionsMax && !isClosed ? open() : undefined)
      if (!connection) return
      waiting.delete(job)
      start(job, connection)
    }
  }

  /** Tells a job why not, after `send` has returned. */
  function refuse(job: Job, error: ProtocolError): void {
    queueMicrotask(() => {
      if (job.isOver) return
      job.isOver = true
      job.handler.onError(error, !job.isRetried)
    })
  }

  function abort(job: Job): void {
    if (job.isOver) return
    job.isOver = true
    waiting.delete(job)
    job.connection?.destroy()
  }

  function checkTimeouts(): void {
    for (const connection of connections) {
      const idleMs = connection.ticksIdle++ * tickMs
      if (!connection.isBusy) {
        if (idleMs >= keepAliveMs) connection.destroy()
      } else if (idleMs >= (connection.isAnswered ? idleTimeoutMs : firstByteTimeoutMs)) {
        connection.fail(timeoutError(connection.isAnswered, Math.round(idleMs)))
      }
    }
  }

  function stopTimer(): void {
    clearInterval(timer)
    timer = undefined
  }

  function close(): void {
    isClosed = true
    const error = closedError()
    for (const job of waiting) refuse(job, error)
    waiting.clear()
    for (const connection of connections) connection.fail(error)
  }

  return {
    send(request, handler) {
      const job: Job = {
        request,
        handler,
        connection: undefined,
        isPaused: false,
        isOver: false,
        isRetried: false,
      }
      const connection = isClosed
        ? undefined
        : (free.pop() ?? (connections.size < connectionsMax ? open() : undefined))
      if (connection) start(job, connection)
      else if (isClosed) refuse(job, closedError())
      else if (waiting.size < requestsWaitingMax) waiting.add(job)
      else refuse(job, busyError(requestsWaitingMax))
      return {
        pause() {
          job.isPaused = true
          job.connection?.pause()
        },
        resume() {
          job.isPaused = false
          job.connection?.resume()
        },
        abort: () => abort(job),
      }
    },
    get inFlight() {
      return busy + waiting.size
    },
    close,
    [Symbol.dispose]: close,
  }
}

/** Nothing but safe requests: a paid call must never run twice, and nobody can prove that a lost one did not run. */
function mayBeSentAgain({ method, body, switchesTo }: UpstreamRequest, error: ProtocolError): boolean {
  const isSafe = method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
  return isSafe && (body === undefined || switchesTo !== undefined) && error.code === 'provider_unreachable'
}

function timeoutError(isAnswered: boolean, idleMs: number): ProtocolError {
  const what = isAnswered ? 'The answer stood still' : 'No answer came'
  return new ProtocolError(isAnswered ? 'call_stalled' : 'call_timeout', `${what} for ${idleMs} ms.`, {
    hint: 'Send it again, or with less work in it.',
  })
}

function busyError(requestsWaitingMax: number): ProtocolError {
  return new ProtocolError('provider_busy', `${requestsWaitingMax} requests wait for this server already.`, {
    hint: 'Send it again a little later.',
  })
}

function closedError(): ProtocolError {
  return new ProtocolError('provider_unreachable', 'The connections to this server have been closed.', {
    hint: 'Send it again.',
  })
}
