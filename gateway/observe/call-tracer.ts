import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { createTraceIds, formatTraceParent, parseTraceParent } from './trace-context.ts'

/** One request in its trace. */
export interface CallSpan {
  readonly traceId: string
  /** What goes on as `traceparent`; undefined where what came is passed on as it is. */
  readonly traceparent: string | undefined
  /** Whether the trace begins here, so that a `tracestate` that came belongs to none. */
  readonly isNew: boolean
  /** The request is over. */
  end(facts: SpanFacts): void
}

export interface SpanFacts {
  readonly status: number | undefined
  readonly provider: string | undefined
  /** Of a problem. */
  readonly code: string | undefined
  readonly isWhole: boolean
  readonly sentBytes: number
}

export interface TracedRequest {
  readonly request: Pick<IncomingRequest, 'headers' | 'method'>
  readonly requestId: string
}

/** Says to which trace each request belongs. Disposal sends what is still to be sent. */
export interface CallTracer extends AsyncDisposable {
  begin(traced: TracedRequest): CallSpan
}

/**
 * Exports nothing. A trace that came goes on untouched: a span of ours that nobody ever sees would be a hole in it. Where
 * none came, one begins, so that the logs of gateway, provider and program have an id in common.
 */
export function createPlainTracer(): CallTracer {
  const ids = createTraceIds()
  const end = () => undefined
  return {
    begin({ request }) {
      const parent = parseTraceParent(request.headers['traceparent'])
      if (parent) return { traceId: parent.traceId, traceparent: undefined, isNew: false, end }
      const own = ids.next()
      return { traceId: own.traceId, traceparent: formatTraceParent(own), isNew: true, end }
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}
