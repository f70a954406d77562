import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { MetricsSource } from '../../protocol/http/serve-metrics.ts'
import { type LimitName, limitNames } from '../limits/front-guard.ts'
import { registerDurations } from './durations.ts'

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
type StatusClass = (typeof statusClasses)[number]
const bucketsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]

export function createGatewayMetrics(
  sources: GatewayMetricSources,
  { providers, withProcess }: GatewayMetricsOptions,
): GatewayMetrics {
  const registry = new Registry()
  const registers = [registry]
  const prefix = gatewayMetricPrefix
  if (withProcess) collectDefaultMetrics({ register: registry })

  // prom-client looks for the series at each count, and a call has no time for that: what every call counts are numbers here,
  // told when somebody asks. All begin with 0, as a series that is missing looks like one that is broken.
  const requestsOf = countsOf(requestTargets)
  const otherRequests = noRequests()
  const providersOf = countsOf(providers).set(otherProviders, otherRequests)
  let cutOff = 0
  let sentBytes = 0
  let inFlight = 0

  function counter(name: string, help: string, read: () => number): void {
    const made: Counter = new Counter({
      ...{ name: prefix + name, help, registers },
      collect() {
        made.reset()
        made.inc(read())
      },
    })
  }
  function requestCounter(name: string, help: string, label: string, counts: RequestCounts): void {
    const made: Counter = new Counter({
      ...{ name: prefix + name, help, registers, labelNames: [label, 'status'] },
      collect() {
        made.reset()
        for (const [value, ofValue] of counts) {
          for (const status of statusClasses) made.inc({ [label]: value, status }, ofValue[status])
        }
      },
    })
  }
  requestCounter(
    'requests_total',
    'Requests by where they went and the class of their status; "none" for callers who left before.',
    'target',
    requestsOf,
  )
  requestCounter(
    'provider_requests_total',
    'Requests to providers that the settings name; all others together.',
    'provider',
    providersOf,
  )
  const problems = new Counter({
    name: `${prefix}problems_total`,
    help: 'Problems that the gateway answered with, by their code.',
    labelNames: ['code'],
    registers,
  })
  const limited = new Counter({
    name: `${prefix}limited_total`,
    help: 'Requests and connections that were too many, by the limit.',
    labelNames: ['limit'],
    registers,
  })
  const untold = new Counter({
    name: `${prefix}limit_untold_total`,
    help: 'Requests that other gateways or processes did not hear of, as too many clients came at once.',
    registers,
  })
  counter(
    'cut_off_total',
    'Answers that did not reach their end: the caller left, or the provider broke off.',
    () => cutOff,
  )
  counter('sent_bytes_total', "Bytes of providers' bodies that went to callers.", () => sentBytes)
  const countDuration = registerDurations(registry, {
    name: `${prefix}request_duration_seconds`,
    help: 'Of requests to providers, to the end of the answer.',
    bucketsMs,
  })
  const countFirstByte = registerDurations(registry, {
    name: `${prefix}first_byte_seconds`,
    help: "Of requests to providers, to the answer's head.",
    bucketsMs,
  })

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

  for (const limit of limitNames) limited.inc({ limit }, 0)

  return {
    beginRequest() {
      inFlight++
    },
    countRequest({ target, provider, status, code, isWhole, sentBytes: bytes, durationMs, firstByteMs }) {
      inFlight--
      const statusClass = classOf(status)
      requestsOf.get(target)![statusClass]++
      if (code !== undefined) problems.inc({ code })
      if (target !== 'provider') return
      const ofProvider = provider === undefined ? undefined : providersOf.get(provider)
      ;(ofProvider ?? otherRequests)[statusClass]++
      if (!isWhole) cutOff++
      sentBytes += bytes
      countDuration(durationMs)
      if (firstByteMs !== undefined) countFirstByte(firstByteMs)
    },
    countLimited: (limit) => limited.inc({ limit }),
    countUntold: () => untold.inc(),
    read: async () => ({ text: await registry.metrics(), type: registry.contentType }),
    readJson: () => registry.getMetricsAsJSON(),
  }
}

const otherProviders = '(others)'

/** By the value of a label, and by the class of the status. */
type RequestCounts = Map<string, Record<StatusClass, number>>

function countsOf(values: readonly string[]): RequestCounts {
  return new Map(values.map((value) => [value, noRequests()]))
}

function noRequests(): Record<StatusClass, number> {
  return { none: 0, '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 }
}

function classOf(status: number | undefined): StatusClass {
  return status === undefined ? 'none' : (statusClasses[Math.floor(status / 100)] ?? 'none')
}
