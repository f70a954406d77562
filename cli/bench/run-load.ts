import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { Clock } from '../../protocol/base/clock.ts'
import { callHeaders } from '../../protocol/call.ts'
import { type ErrorCode, type ProtocolError, problemType } from '../../protocol/errors.ts'
import type { RawHeaders, Upstream, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { addUsdc, type Usdc, usdcFromJson } from '../../protocol/usdc.ts'

export interface LoadOptions {
  readonly request: UpstreamRequest
  /** How many calls are under way at a time. */
  readonly connections: number
  readonly durationMs: number
  /** Never is one more sent. */
  readonly callsMax: number
}

export interface LoadResult {
  readonly sent: number
  /** Answers by status; with `refused`, those in which the network, and not the program, says no. */
  readonly statuses: Readonly<Record<string, number>>
  readonly refused: number
  /** Calls without a whole answer, by code. */
  readonly failures: Readonly<Record<string, number>>
  /** Of bodies. */
  readonly bytes: number
  readonly elapsedMs: number
  /** What providers said that they charged. */
  readonly chargedUsdc: Usdc
  /** Of whole answers, from sending to the last byte, in microseconds. */
  readonly latency: RecordableHistogram
}

/**
 * Sends one request again and again over a number of connections, each as soon as the last was answered. Ends after the
 * duration, at the most calls, or when `signal` aborts; what is under way is waited for, as it costs what it costs.
 *
 * @throws ProtocolError what befell the first calls, where none at all was answered
 */
export async function runLoad(
  { clock, upstream }: { readonly clock: Pick<Clock, 'monotonicMs'>; readonly upstream: Upstream },
  { request, connections, durationMs, callsMax }: LoadOptions,
  signal: AbortSignal,
): Promise<LoadResult> {
  const latency = createHistogram({ lowest: 1, highest: 3_600_000_000, figures: 3 })
  const statuses: Record<string, number> = {}
  const failures: Partial<Record<ErrorCode, number>> = {}
  let [sent, answered, refused, bytes] = [0, 0, 0, 0]
  let chargedUsdc = 0n as Usdc
  let firstFailure: ProtocolError | undefined
  const startedMs = clock.monotonicMs()
  const isOver = () => signal.aborted || sent >= callsMax || clock.monotonicMs() - startedMs >= durationMs

  const call = () =>
    new Promise<void>((resolve) => {
      sent++
      const sentMs = clock.monotonicMs()
      let head: { status: number; rawHeaders: RawHeaders } | undefined
      upstream.send(request, {
        onHead(status, rawHeaders) {
          head = { status, rawHeaders }
        },
        onData(chunk) {
          bytes += chunk.length
        },
        onEnd() {
          answered++
          latency.record(Math.max(1, Math.round((clock.monotonicMs() - sentMs) * 1000)))
          const { status = 0, rawHeaders = [] } = head ?? {}
          statuses[status] = (statuses[status] ?? 0) + 1
          if (status >= 400 && headerOf(rawHeaders, 'content-type') === problemType) refused++
          else chargedUsdc = addUsdc(chargedUsdc, chargeOf(rawHeaders))
          resolve()
        },
        onError(error) {
          firstFailure ??= error
          failures[error.code] = (failures[error.code] ?? 0) + 1
          resolve()
        },
      })
    })
  /** Where nobody is, asking a million times more is no measurement. */
  const isInVain = () => answered === 0 && sent >= connections && firstFailure !== undefined
  const loop = async () => {
    while (!isOver() && !isInVain()) await call()
  }
  await Promise.all(Array.from({ length: Math.min(connections, callsMax) }, loop))
  if (answered === 0 && firstFailure) throw firstFailure
  const elapsedMs = clock.monotonicMs() - startedMs
  return { sent, statuses, refused, failures, bytes, elapsedMs, chargedUsdc, latency }
}

const chargeOf = (rawHeaders: RawHeaders): Usdc =>
  usdcFromJson(headerOf(rawHeaders, callHeaders.price) ?? '0') ?? (0n as Usdc)

function headerOf(rawHeaders: RawHeaders, lowerName: string): string | undefined {
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() === lowerName) return rawHeaders[i + 1]
  return undefined
}
