import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { limits } from '../../protocol/limits.ts'
import { type CallTracer, createPlainTracer, type SpanFacts, type TracedRequest } from './call-tracer.ts'
import { formatTraceParent, parseTraceParent, type TraceParent } from './trace-context.ts'

export interface OtlpOptions {
  /** Where the collector takes traces: `http://127.0.0.1:4318/v1/traces`. */
  readonly url: string
  /** Which part of all requests is exported, 0 to 1. */
  readonly sampleRatio: number
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly version: string
  /** Who this gateway is among others. */
  readonly instance: string
}

/**
 * Exports spans as OTLP over HTTP, in JSON. The dice decide which, and never the caller: its flag, or a trace id of its
 * choice, would let anybody fill the collector. Loaded only where it is configured, as the SDK is large.
 */
export function createOtlpTracer(options: OtlpOptions): CallTracer {
  const { url, sampleRatio, random, version, instance } = options
  const exporter = new OTLPTraceExporter({ url, timeoutMillis: limits.otlpTimeoutMs })
  const provider = new TracerProvider({
    sampler: new AlwaysOnSampler(),
    resource: resourceFromAttributes({
      'service.name': 'khachapuri-gateway',
      'service.version': version,
      'service.instance.id': instance,
    }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: limits.otlpSpansWaitingMax,
        scheduledDelayMillis: limits.otlpIntervalMs,
        exportTimeoutMillis: limits.otlpTimeoutMs,
      }),
    ],
  })
  const tracer = provider.getTracer('khachapuri-gateway', version)
  const plain = createPlainTracer()

  function beginSpan({ request, requestId }: TracedRequest, parent: TraceParent | undefined): Span {
    const context = parent
      ? trace.setSpanContext(ROOT_CONTEXT, {
          traceId: parent.traceId,
          spanId: parent.spanId,
          traceFlags: parent.isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
          isRemote: true,
        })
      : ROOT_CONTEXT
    const method = request.method ?? ''
    return tracer.startSpan(
      method,
      {
        kind: SpanKind.SERVER,
        attributes: { 'http.request.method': method, 'khachapuri.request_id': requestId },
      },
      context,
    )
  }

  return {
    begin(traced) {
      if (random() >= sampleRatio) return plain.begin(traced)
      const parent = parseTraceParent(traced.request.headers['traceparent'])
      const span = beginSpan(traced, parent)
      const { traceId, spanId } = span.spanContext()
      return {
        traceId,
        traceparent: formatTraceParent({ traceId, spanId, isSampled: true }),
        isNew: parent === undefined,
        end: (facts) => endSpan(span, facts),
      }
    },
    async [Symbol.asyncDispose]() {
      // A collector that is away keeps nobody from closing.
      await provider.shutdown().catch(() => undefined)
    },
  }
}

/** In the words of OpenTelemetry's semantic conventions for HTTP, where they have one. */
function endSpan(span: Span, { status, provider, code, isWhole, sentBytes }: SpanFacts): void {
  if (status !== undefined) span.setAttribute('http.response.status_code', status)
  if (provider !== undefined) span.setAttribute('khachapuri.provider', provider)
  span.setAttribute('http.response.body.size', sentBytes)
  if (code !== undefined) span.setAttribute('error.type', code)
  else if (!isWhole) span.setAttribute('error.type', 'cut_off')
  if ((status ?? 500) >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
  span.end()
}
