import { randomUUID } from 'node:crypto'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import type { CallSpan, CallTracer } from './call-tracer.ts'
import type { GatewayMetrics, RequestTarget } from './metrics.ts'

/** One request, as logs, metrics and traces will tell of it. What is not known yet is filled in on its way. */
export interface RequestRecord {
  readonly requestId: string
  readonly span: CallSpan
  target: RequestTarget
  /** The client's address. */
  client: string | undefined
  /** As the caller named it. */
  provider: string | undefined
  /** Who has taken the call, where one of several may. */
  servedBy: (() => string | undefined) | undefined
  path: string | undefined
  /** Hears that it is over. */
  leave: (() => void) | undefined
  /** Bytes of the body that have gone to the caller so far. */
  progress: { readonly sentBytes: number } | undefined
  /** The gateway answers with this. */
  noteProblem(error: unknown): void
  /** The head of the answer goes out. */
  noteHead(): void
}

export interface Observer {
  /** To be called first for each request; the rest happens by itself when `response` closes. */
  begin(request: IncomingRequest, response: OutgoingResponse): RequestRecord
}

export interface ObserverDeps {
  readonly clock: Clock
  readonly log: Log
  readonly tracer: CallTracer
  readonly metrics: Pick<GatewayMetrics, 'beginRequest' | 'countRequest'>
}

/** What is asked every few seconds by whoever supervises a gateway says nothing in a log. */
const unlogged: ReadonlySet<string> = new Set(['/healthz', '/readyz'])

export function createObserver(
  { clock, log, tracer, metrics }: ObserverDeps,
  { logsCalls }: { readonly logsCalls: boolean },
): Observer {
  return {
    begin(request, response) {
      const startedMs = clock.monotonicMs()
      const requestId = readRequestId(request)
      const span = tracer.begin({ request, requestId })
      let code: string | undefined
      let firstByteMs: number | undefined
      metrics.beginRequest()
      const record: RequestRecord = {
        requestId,
        span,
        target: 'refused',
        client: undefined,
        provider: undefined,
        servedBy: undefined,
        path: undefined,
        leave: undefined,
        progress: undefined,
        noteProblem(error) {
          code = isProtocolError(error) ? error.code : 'internal'
        },
        noteHead() {
          firstByteMs = clock.monotonicMs() - startedMs
        },
      }
      response.on('close', () => {
        record.leave?.()
        const durationMs = clock.monotonicMs() - startedMs
        const { target, client, path } = record
        const provider = record.servedBy?.() ?? record.provider
        const sentBytes = record.progress?.sentBytes ?? 0
        const status = response.headersSent ? response.statusCode : undefined
        const isWhole = response.writableFinished
        span.end({ status, provider, code, isWhole, sentBytes })
        metrics.countRequest({
          ...{ target, provider, status, code, isWhole, sentBytes, durationMs, firstByteMs },
        })
        if (!logsCalls || (target === 'gateway' && unlogged.has(path ?? ''))) return
        log.info(target === 'provider' ? 'call_proxied' : 'request_served', {
          requestId,
          traceId: span.traceId,
          client,
          ...(target === 'provider' && { provider }),
          method: request.method,
          path,
          status,
          ...(code !== undefined && { code }),
          isWhole,
          sentBytes,
          durationMs: Math.round(durationMs * 100) / 100,
        })
      })
      return record
    },
  }
}

/** A caller's own id where it is harmless, so that it finds its request in both logs. */
function readRequestId({ headers }: Pick<IncomingRequest, 'headers'>): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}
