import { expect, test } from 'vitest'
import type { TunnelStatus } from '../../tunnel-client/index.ts'
import { createTunnelMonitor, formatFigures, formatSpan } from './tunnel-monitor.ts'

const status: TunnelStatus = {
  state: 'connected',
  sockets: [
    { tunnelId: 'a', streams: 0, rttMs: 24.04, connectedAtMs: 0 },
    { tunnelId: 'b', streams: 0, rttMs: undefined, connectedAtMs: 0 },
  ],
  connectedSinceMs: 1_000_000,
  requests: 12,
  receivedBytes: 3_565_158,
  sentBytes: 900,
  lastError: undefined,
}
const answered = (firstByteMs: number | undefined) => ({
  ...{ method: 'GET', path: '/', status: 200, error: undefined },
  firstByteMs,
  durationMs: 1,
})

test('the line says since when, how much and how fast', () => {
  const monitor = createTunnelMonitor()
  for (const ms of [5, 1, undefined, 100]) monitor.note(answered(ms))
  expect(formatFigures(monitor.figures(status), { nowMs: () => 1_125_400 })).toBe(
    'connected for 2m 5s · 2 sockets · 12 requests · 3.4 MiB in · 900 B out · 24 ms to the gateway · 5 ms to answer',
  )
})

test('what is not known yet is left out', () => {
  const none = { ...status, sockets: [], state: 'reconnecting', connectedSinceMs: undefined } as const
  expect(formatFigures(createTunnelMonitor().figures(none), { nowMs: () => 0 })).toBe(
    'reconnecting · 0 sockets · 12 requests · 3.4 MiB in · 900 B out',
  )
})

test('latency is that of the latest answers, however many there were', () => {
  const monitor = createTunnelMonitor()
  for (let index = 0; index < 1_000; index++) monitor.note(answered(500))
  for (let index = 0; index < 100; index++) monitor.note(answered(2))
  expect(monitor.figures(status).latencyMs).toBe(2)
})

test.each([
  [0.9, '0s'],
  [59, '59s'],
  [3_599, '59m 59s'],
  [3_600, '1h 0m'],
  [200_000, '2d 7h'],
])('%f seconds are %s', (seconds, text) => expect(formatSpan(seconds)).toBe(text))
