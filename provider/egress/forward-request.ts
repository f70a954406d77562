import type { IncomingMessage } from 'node:http'
import { ProtocolError } from '../../protocol/errors.ts'
import { drainBody } from '../../protocol/http/drain-body.ts'
import type { HttpResponse } from '../../protocol/http/listener.ts'
import type { Upstream, UpstreamExchange } from '../../protocol/http/upstream.ts'
import type { EgressBudget } from './budget.ts'
import type { Destination } from './destination.ts'
import { fromOriginHeaders, toOriginHeaders } from './origin-headers.ts'
import { exhausted, refuseRequest, toEgressError, tooSlow } from './refusals.ts'

export interface ForwardOptions {
  readonly upstream: Upstream
  readonly budget: EgressBudget
  /** From the head of the request to the end of the answer. */
  readonly exchangeMsMax: number
}

/**
 * Sends a program's request on and the answer back, piece by piece in both directions, no faster than the slower side;
 * whoever gives up, the other side hears of it. Nothing is followed, and an answer that broke off never looks whole.
 */
export function forwardRequest(
  request: IncomingMessage,
  response: HttpResponse,
  destination: Destination,
  { upstream, budget, exchangeMsMax }: ForwardOptions,
): void {
  const { host, target, origin } = destination
  const method = request.method ?? 'GET'
  const rawHeaders = toOriginHeaders(request.rawHeaders, { connection: request.headers.connection, host })
  const body = hasBody(request) ? request : undefined
  let exchange: UpstreamExchange | undefined
  let isOver = false

  function end(error?: ProtocolError): void {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    if (error) {
      exchange?.abort()
      refuseRequest(response, error)
    } else {
      response.end()
    }
    if (body) drainBody(body)
  }

  const timer = setTimeout(() => end(tooSlow(origin)), exchangeMsMax)
  response.on('drain', () => exchange?.resume())
  response.on('close', () => {
    clearTimeout(timer)
    if (isOver) return
    isOver = true
    exchange?.abort()
  })

  const sentBytes = method.length + target.length + rawHeaders.reduce((sum, text) => sum + text.length + 2, 0)
  if (!budget.take('sentBytes', sentBytes)) {
    end(exhausted('sentBytes'))
    return
  }
  // First to hear of each piece: what cannot be paid for is not sent.
  body?.on('data', (chunk: Buffer) => {
    if (!isOver && !budget.take('sentBytes', chunk.length)) end(exhausted('sentBytes'))
  })
  exchange = upstream.send(
    { method, target, rawHeaders, ...(body && { body }) },
    {
      onHead(status, answerHeaders) {
        if (isOver) return
        response.sendDate = false
        try {
          response.writeHead(status, fromOriginHeaders(answerHeaders))
        } catch (cause) {
          end(
            new ProtocolError('egress_answer_invalid', `The head of the answer of ${origin} is malformed.`, {
              hint: 'Tell whoever runs that server.',
              cause,
            }),
          )
          return
        }
        response.flushHeaders()
      },
      onData(chunk) {
        if (!isOver && !response.write(chunk)) exchange?.pause()
      },
      onEnd: () => end(),
      onError: (error) => end(toEgressError(error, origin)),
    },
  )
  // It may be over, or the program may have to be waited for, before `send` has returned.
  if (isOver) exchange.abort()
  else if (response.writableNeedDrain) exchange.pause()
}

function hasBody({ headers }: IncomingMessage): boolean {
  if (headers['transfer-encoding'] !== undefined) return true
  return headers['content-length'] !== undefined && headers['content-length'] !== '0'
}
