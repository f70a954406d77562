import type { Clock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import type { ForwardedRequest, TunnelStatus } from '../../tunnel-client/index.ts'
import { formatBytes } from '../format.ts'

/** How a tunnel is, for a line that people look at and for `--json`. */
export interface TunnelFigures {
  readonly state: TunnelStatus['state']
  readonly sockets: number
  /** Seconds since 1970; null while nothing is connected. */
  readonly connectedSince: number | null
  readonly requests: number
  readonly receivedBytes: number
  readonly sentBytes: number
  /** To the gateway and back. */
  readonly rttMs: number | null
  /** Half of the latest requests had the head of their answer from the service within this. */
  readonly latencyMs: number | null
}

/** Remembers how long the latest answers took. */
export interface TunnelMonitor {
  note(request: ForwardedRequest): void
  figures(status: TunnelStatus): TunnelFigures
}

export function createTunnelMonitor(): TunnelMonitor {
  const latest: number[] = []
  return {
    note({ firstByteMs }) {
      if (firstByteMs === undefined) return
      latest.push(firstByteMs)
      if (latest.length > limits.tunnelLatenciesMax) latest.shift()
    },
    figures({ state, sockets, connectedSinceMs, requests, receivedBytes, sentBytes }) {
      const rtts = sockets.flatMap(({ rttMs }) => (rttMs === undefined ? [] : [rttMs]))
      return {
        state,
        sockets: sockets.length,
        connectedSince: connectedSinceMs === undefined ? null : Math.floor(connectedSinceMs / 1000),
        requests,
        receivedBytes,
        sentBytes,
        rttMs: rtts.length === 0 ? null : round(Math.min(...rtts)),
        latencyMs: latest.length === 0 ? null : round(median(latest)),
      }
    },
  }
}

/** The line: `connected for 2m 5s · 2 sockets · 12 requests · 3.4 MiB in · 1.2 MiB out · 24 ms to the gateway`. */
export function formatFigures(figures: TunnelFigures, clock: Pick<Clock, 'nowMs'>): string {
  const { state, sockets, connectedSince, requests, receivedBytes, sentBytes, rttMs, latencyMs } = figures
  const since =
    connectedSince === null ? '' : ` for ${formatSpan(Math.max(0, clock.nowMs() / 1000 - connectedSince))}`
  return [
    `${state}${since}`,
    plural(sockets, 'socket'),
    plural(requests, 'request'),
    `${formatBytes(receivedBytes)} in`,
    `${formatBytes(sentBytes)} out`,
    ...(rttMs === null ? [] : [`${rttMs} ms to the gateway`]),
    ...(latencyMs === null ? [] : [`${latencyMs} ms to answer`]),
  ].join(' · ')
}

/** `7s`, `2m 5s`, `3h 12m`, `2d 4h`. */
export function formatSpan(seconds: number): string {
  const whole = Math.floor(seconds)
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`
  return `${Math.floor(whole / 86_400)}d ${Math.floor((whole % 86_400) / 3600)}h`
}

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`
const round = (ms: number) => Math.round(ms * 10) / 10

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] as number
}
