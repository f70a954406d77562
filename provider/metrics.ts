import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Clock } from '../protocol/base/clock.ts'
import { type Outcome, outcomes } from '../protocol/call.ts'
import type { MirrorStatus } from '../protocol/chain/grant-mirror.ts'
import type { MetricsSource } from '../protocol/http/serve-metrics.ts'
import type { Usdc } from '../protocol/usdc.ts'
import type { TunnelStatus } from '../tunnel-client/connect-tunnel.ts'
import type { SettlerStatus } from './settlement/settler.ts'
import type { SettlementsStatus } from './x402/settlements.ts'

/** What an operator watches, in the text format of Prometheus. No label holds a payer, a CID or an address. */
export interface ProviderMetrics extends MetricsSource {
  countCall(call: { outcome: Outcome; chargedUsdc: Usdc; durationMs: number }): void
}

/** Asked when somebody looks, and not before. */
export interface MetricSources {
  readonly clock: Clock
  readonly settler: () => SettlerStatus
  readonly mirror: () => MirrorStatus
  readonly x402: () => SettlementsStatus | undefined
  readonly tunnel: () => TunnelStatus | undefined
  readonly programsRunning: () => number
  readonly programsResting: () => number
  /** Since the start. */
  readonly programRests: () => number
}

const usdcUnits = 1_000_000

export function createProviderMetrics(sources: MetricSources): ProviderMetrics {
  const { clock, settler, mirror, x402, tunnel } = sources
  const registry = new Registry()
  const registers = [registry]
  const prefix = 'khachapuri_provider_'

  const calls = new Counter({
    name: `${prefix}calls_total`,
    help: 'Calls by how they ended.',
    labelNames: ['outcome'],
    registers,
  })
  // A series that is missing looks like one that is broken.
  for (const outcome of Object.keys(outcomes)) calls.inc({ outcome }, 0)
  const charged = new Counter({
    name: `${prefix}charged_usdc_total`,
    help: 'Charged to payers, however they pay.',
    registers,
  })
  const durations = new Histogram({
    name: `${prefix}call_duration_seconds`,
    help: 'From the admission of a call to its place in the books.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers,
  })

  function gauge(name: string, help: string, read: () => number): void {
    const made: Gauge = new Gauge({
      name: prefix + name,
      help,
      registers,
      collect: () => made.set(read()),
    })
  }
  const secondsSince = (sinceMs: number | undefined) =>
    sinceMs === undefined ? 0 : Math.max(0, (clock.nowMs() - sinceMs) / 1000)

  gauge(
    'unsettled_usdc',
    'Charged, and not yet seen as paid on chain.',
    () => Number(settler().unsettledUsdc) / usdcUnits,
  )
  gauge('unsettled_age_seconds', 'How long the oldest of it has been owed.', () =>
    secondsSince(settler().unsettledSinceMs),
  )
  gauge(
    'unsettled_alarms',
    'Limits of value and age that are passed now (--alarm-value, --alarm-age).',
    () => settler().alarms.length,
  )
  gauge('settlement_failures', 'Failed settlements since the last success.', () => settler().failures)
  gauge('chain_block', 'Grants are known up to this block.', () => Number(mirror().blockNumber))
  gauge(
    'chain_lost_seconds',
    'How long the chain has not answered; 0 while it does.',
    () => (mirror().lostForMs ?? 0) / 1000,
  )
  gauge('x402_open', 'Payments by x402 whose fate is not known.', () => x402()?.open ?? 0)
  gauge(
    'x402_lost_usdc',
    'Answered since the start, and never to be paid.',
    () => Number(x402()?.lostUsdc ?? 0n) / usdcUnits,
  )
  gauge('tunnel_sockets', 'Connected sockets of the tunnel.', () => tunnel()?.sockets.length ?? 0)
  gauge('programs_running', 'Programs that run or start.', sources.programsRunning)
  gauge(
    'programs_resting',
    'Programs that died so often that they are not started now.',
    sources.programsResting,
  )
  const rests: Counter = new Counter({
    name: `${prefix}program_rests_total`,
    help: 'How often a program that died was not started again at once.',
    registers,
    collect() {
      rests.reset()
      rests.inc(sources.programRests())
    },
  })

  return {
    countCall({ outcome, chargedUsdc, durationMs }) {
      calls.inc({ outcome })
      charged.inc(Number(chargedUsdc) / usdcUnits)
      durations.observe(durationMs / 1000)
    },
    read: async () => ({ text: await registry.metrics(), type: registry.contentType }),
  }
}
