import { ProtocolError } from '../../protocol/errors.ts'
import { drainBody } from '../../protocol/http/drain-body.ts'
import {
  announcedLength,
  type ForwardFacts,
  forwardHeaders,
  gatewayHeaders,
} from '../../protocol/http/headers.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { addTrailers } from '../../protocol/http/trailers.ts'
import type { UpstreamExchange, UpstreamHandler } from '../../protocol/http/upstream.ts'
import { bodyTooSlow } from '../limits/body-pace.ts'
import type { ProviderRoute } from './provider-routes.ts'
import type { CallerRequest, RequestShape } from './request-shape.ts'
import { type AnswerFacts, cleanResponseHeaders } from './response-headers.ts'

/** What is known of a call once it is clear whom it is for. */
export interface CallFacts extends AnswerFacts {
  readonly shape: RequestShape
  readonly proto: 'http' | 'https'
  readonly remoteAddress: string
  /** Lets a caller send its body that waits for `100 Continue`; absent where it does not wait. */
  readonly onContinue?: (() => void) | undefined
  /** See `ForwardFacts.trace`. */
  readonly trace: ForwardFacts['trace']
  /** Has `onSlow` called where the caller's body comes too slowly, until what it returns is called. */
  readonly watchBody: (onSlow: () => void) => () => void
  /** The head of the answer goes out. */
  readonly onHead: () => void
  /** The answer is this problem instead. */
  readonly onProblem: (error: unknown) => void
  /** Where the caller chose the provider: whether that one had the call (see `gatewayHeaders.attempt`). */
  readonly describeFailure?: (error: ProtocolError, isUntaken: boolean) => readonly string[]
}

/** Where nobody knows whether a body that was not asked for still comes, or another request. */
export const lastOfItsConnection = ['connection', 'close'] as const

/** Up to here one string for head and body costs less than two buffers and a `writev`. */
const mergedBytesMax = 16 * 1024

/**
 * Passes a request on and its answer back, piece by piece in both directions, no faster than the slower side; whoever
 * gives up, the other side hears of it. Nothing is buffered, nothing is followed, nothing is sent twice.
 *
 * @returns how many bytes of the body have gone to the caller, for the log.
 */
export function proxyCall(
  request: CallerRequest,
  response: OutgoingResponse,
  route: ProviderRoute,
  facts: CallFacts,
): { readonly sentBytes: number } {
  const { shape } = facts
  const progress = { sentBytes: 0 }
  const { switchesTo } = request
  const body = switchesTo || hasBody(request) ? request : undefined
  let isBodyWanted = facts.onContinue === undefined
  let isAborted = false
  let exchange: UpstreamExchange | undefined
  let announcedBytes: number | undefined
  let isWaitingForRoom = false
  const stopWatching = body && !switchesTo ? facts.watchBody(giveUpSlow) : undefined

  const handler: UpstreamHandler = {
    onHead(status, rawHeaders) {
      stopWatching?.()
      announcedBytes = announcedLength(rawHeaders)
      try {
        const headers = cleanResponseHeaders(rawHeaders, {
          ...facts,
          servedBy: route.servedBy?.(),
          routeReason: route.routeReason?.(),
          attempts: route.attempts?.(),
        })
        if (!isBodyWanted) headers.push(...lastOfItsConnection)
        response.writeHead(status, headers)
        facts.onHead()
      } catch (cause) {
        exchange?.abort()
        isAborted = true
        handler.onError(malformedHead(cause))
        return
      }
      // Node keeps the head back until there is a body; a stream of events may be silent for long.
      queueMicrotask(() => {
        if (progress.sentBytes === 0 && !response.writableEnded) response.flushHeaders()
      })
    },
    onData(chunk) {
      if (isAborted) return
      const isWhole = progress.sentBytes === 0 && chunk.length === announcedBytes
      progress.sentBytes += chunk.length
      if (isWhole && chunk.length <= mergedBytesMax) response.end(chunk.toString('latin1'), 'latin1')
      else if (!response.write(chunk)) waitForRoom()
    },
    onEnd(trailers) {
      if (isAborted) return
      addTrailers(response, trailers, 'provider')
      if (!response.writableEnded) response.end()
      if (body && !body.complete) drainBody(body)
    },
    onError(error, isUntaken = false) {
      stopWatching?.()
      facts.onProblem(error)
      const last = isBodyWanted ? [] : lastOfItsConnection
      const told = route.attempts?.() ?? facts.describeFailure?.(error, isUntaken) ?? []
      const attempts = told.flatMap((attempt) => [gatewayHeaders.attempt, attempt])
      sendProblem(response, error, [
        'x-request-id',
        facts.requestId,
        ...attempts,
        ...facts.pageHeaders,
        ...last,
      ])
      if (body && !body.complete) drainBody(body)
    },
  }

  /** Who sends so slowly is not waited for; nobody knows when the next request would begin on this connection. */
  function giveUpSlow(): void {
    if (isAborted) return
    isAborted = true
    exchange?.abort()
    const error = bodyTooSlow()
    facts.onProblem(error)
    response.once('finish', () => body?.destroy())
    sendProblem(response, error, ['x-request-id', facts.requestId, ...lastOfItsConnection])
  }

  function waitForRoom(): void {
    exchange?.pause()
    if (isWaitingForRoom) return
    isWaitingForRoom = true
    response.once('drain', () => {
      isWaitingForRoom = false
      exchange?.resume()
    })
  }

  function wantBody(): void {
    if (isBodyWanted || response.headersSent || response.destroyed) return
    isBodyWanted = true
    facts.onContinue?.()
  }

  response.on('close', () => {
    stopWatching?.()
    if (response.writableFinished) return
    isAborted = true
    exchange?.abort()
  })
  exchange = route.upstream.send(
    {
      method: shape.method,
      target: shape.target,
      rawHeaders: forwardHeaders({
        rawHeaders: request.rawHeaders,
        connection: request.headers['connection'] as string | undefined,
        host: route.host ?? shape.host,
        forwardedHost: shape.host,
        forwardedProto: facts.proto,
        remoteAddress: facts.remoteAddress,
        requestId: facts.requestId,
        via: facts.via,
        trace: facts.trace,
      }),
      ...(body ? { body } : {}),
      switchesTo,
      onBodyWanted: facts.onContinue && wantBody,
    },
    handler,
  )
  // An upstream may answer, and a caller may hang up, before `send` has returned.
  if (isAborted) exchange.abort()
  else if (isWaitingForRoom) exchange.pause()
  return progress
}

/** An upstream that is not ours to trust may hand over what Node refuses to write. */
function malformedHead(cause: unknown): ProtocolError {
  return new ProtocolError('provider_answer_invalid', 'The head of the answer is malformed.', {
    hint: 'Tell the provider: its server does not speak HTTP/1.1 properly.',
    cause,
  })
}

function hasBody({ headers }: CallerRequest): boolean {
  if (headers['transfer-encoding'] !== undefined) return true
  return headers['content-length'] !== undefined && headers['content-length'] !== '0'
}
