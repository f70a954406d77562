import {
  type Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  Counter as PromCounter,
  Registry,
} from 'prom-client'
import type { MetricsSource } from '../../protocol/http/serve-metrics.ts'
import { type LimitName, limitNames } from '../limits/front-guard.ts'

/** Where a request went: to a provider, to the gateway's own pages, or nowhere as it was refused before. */
export const requestTargets = ['provider', 'gateway', 'refused'] as const
export type RequestTarget = (typeof requestTargets)[number]

export interface CountedRequest {
  readonly target: RequestTarget
  readonly provider: string | undefined
  /** Undefined where the caller left before there was an answer. */
  readonly status: number | undefined
  /** Of the problem that the gateway answered with. */
  readonly code: string | undefined
  readonly isWhole: boolean
  readonly sentBytes: number
  readonly durationMs: number
  /** From the request's head to the answer's; undefined where there was none. */
  readonly firstByteMs: number | undefined
}

/**
 * What an operator of a gateway watches. Labels come from closed sets: codes, limits, classes of status, and the names
 * that the operator lists; never a client, a CID or a name of a stranger's choice.
 */
export interface GatewayMetrics extends MetricsSource {
  beginRequest(): void
  countRequest(request: CountedRequest): void
  countLimited(limit: LimitName): void
  /** Something was taken of a quota that the others are not told of. */
  countUntold(): void
  /** For a process that adds up what several have. */
  readJson(): Promise<unknown[]>
}

/** Asked when somebody looks, and not before. */
export interface GatewayMetricSources {
  readonly connections: () => number
  readonly tunnels: () => number
  readonly tunnelledProviders: () => number
  readonly names: () => number
  /** Whether other gateways can be heard, with which it counts limits together. */
  readonly isInCluster: () => boolean
  readonly isReady: () => boolean
}

export interface GatewayMetricsOptions {
  /** Providers that get a series of their own; all others are one. */
  readonly providers: readonly string[]
  /** Memory, event loop and the like of this process, too. */
  readonly withProcess: boolean
}

export const gatewayMetricPrefix = 'khachapuri_gateway_'

const statusClasses = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export function createGatewayMetrics(
  sources: GatewayMetricSources,
  { providers, withProcess }: GatewayMetricsOptions,
): GatewayMetrics {
  const registry = new Registry()
  const registers = [registry]
  const prefix = gatewayMetricPrefix
  if (withProcess) collectDefaultMetrics({ register: registry })

  const requests = new PromCounter({
    name: `${prefix}requests_total`,
    help: 'Requests by where they went and the class of their status; "none" for callers who left before.',
    labelNames: ['target', 'status'],
    registers,
  })
  const byProvider = new PromCounter({
    name: `${prefix}provider_requests_total`,
    help: 'Requests to providers that the settings name; all others together.',
    labelNames: ['provider', 'status'],
    registers,
  })
  const problems = new PromCounter({
    name: `${prefix}problems_total`,
    help: 'Problems that the gateway answered with, by their code.',
    labelNames: ['code'],
    registers,
  })
  const limited = new PromCounter({
    name: `${prefix}limited_total`,
    help: 'Requests and connections that were too many, by the limit.',
    labelNames: ['limit'],
    registers,
  })
  const untold = new PromCounter({
    name: `${prefix}limit_untold_total`,
    help: 'Requests that other gateways or processes did not hear of, as too many clients came at once.',
    registers,
  })
  const cutOff = new PromCounter({
    name: `${prefix}cut_off_total`,
    help: 'Answers that did not reach their end: the caller left, or the provider broke off.',
    registers,
  })
  const sentBytes = new PromCounter({
    name: `${prefix}sent_bytes_total`,
    help: "Bytes of providers' bodies that went to callers.",
    registers,
  })
  const durations = new Histogram({
    name: `${prefix}request_duration_seconds`,
    help: 'Of requests to providers, to the end of the answer.',
    buckets,
    registers,
  })
  const firstBytes = new Histogram({
    name: `${prefix}first_byte_seconds`,
    help: "Of requests to providers, to the answer's head.",
    buckets,
    registers,
  })
  let inFlight = 0

  function gauge(
    name: string,
    help: string,
    read: () => number,
    aggregator: 'sum' | 'min' | 'max' = 'sum',
  ): void {
    const made: Gauge = new Gauge({
      ...{ name: prefix + name, help, registers, aggregator },
      collect: () => made.set(read()),
    })
  }
  gauge('requests_in_flight', 'Requests that have not ended.', () => inFlight)
  gauge('connections', 'Connections of callers and tunnels.', sources.connections)
  gauge('tunnels', 'Connections of providers behind tunnels.', sources.tunnels)
  gauge('tunnelled_providers', 'Providers with at least one tunnel here.', sources.tunnelledProviders, 'max')
  gauge('names', 'Names of providers that are known.', sources.names, 'max')
  gauge(
    'in_cluster',
    '1 while other gateways can be heard and limits are counted together; 0 while it counts alone.',
    () => (sources.isInCluster() ? 1 : 0),
    'max',
  )
  gauge('ready', '1 while it takes requests, 0 while it closes.', () => (sources.isReady() ? 1 : 0), 'min')

  // A series that is missing looks like one that is broken. Children are looked up once: a call has no time for that.
  const requestsOf = new Map(
    requestTargets.flatMap((target) =>
      statusClasses.map((status) => [target + status, openSeries(requests, { target, status })] as const),
    ),
  )
  const listed = new Set(providers)
  const providersOf = new Map(
    [...listed, otherProviders].flatMap((provider) =>
      statusClasses.map(
        (status) => [provider + status, openSeries(byProvider, { provider, status })] as const,
      ),
    ),
  )
  for (const limit of limitNames) limited.inc({ limit }, 0)

  return {
    beginRequest() {
      inFlight++
    },
    countRequest({ target, provider, status, code, isWhole, sentBytes: bytes, durationMs, firstByteMs }) {
      inFlight--
      const statusClass = classOf(status)
      requestsOf.get(target + statusClass)?.inc()
      if (code !== undefined) problems.inc({ code })
      if (target !== 'provider') return
      const name = provider !== undefined && listed.has(provider) ? provider : otherProviders
      providersOf.get(name + statusClass)?.inc()
      if (!isWhole) cutOff.inc()
      sentBytes.inc(bytes)
      durations.observe(durationMs / 1000)
      if (firstByteMs !== undefined) firstBytes.observe(firstByteMs / 1000)
    },
    countLimited: (limit) => limited.inc({ limit }),
    countUntold: () => untold.inc(),
    read: async () => ({ text: await registry.metrics(), type: registry.contentType }),
    readJson: () => registry.getMetricsAsJSON(),
  }
}

const otherProviders = '(others)'

function openSeries<T extends string>(counter: Counter<T>, labels: Record<T, string>): Counter.Internal {
  const series = counter.labels(labels)
  series.inc(0)
  return series
}

function classOf(status: number | undefined): (typeof statusClasses)[number] {
  return status === undefined ? 'none' : (statusClasses[Math.floor(status / 100)] ?? 'none')
}
