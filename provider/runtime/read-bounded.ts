import type { Readable } from 'node:stream'
import type { Clock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'

/** Reads what a process prints, no faster than a bound: whoever floods it waits for itself. */
export function readBounded(
  clock: Clock,
  stream: Readable,
  ended: AbortSignal,
  receive: (chunk: Buffer | string) => void,
): void {
  let windowStartMs = clock.monotonicMs()
  let windowBytes = 0
  stream.on('data', (chunk: Buffer | string) => {
    const nowMs = clock.monotonicMs()
    if (nowMs - windowStartMs > 1000) {
      windowStartMs = nowMs
      windowBytes = 0
    }
    windowBytes += chunk.length
    receive(chunk)
    if (windowBytes <= limits.programOutputBytesPerSecondMax || ended.aborted) return
    stream.pause()
    clock.sleep(windowStartMs + 1001 - nowMs, ended).then(
      () => stream.resume(),
      () => stream.resume(),
    )
  })
  stream.on('error', () => undefined)
}
