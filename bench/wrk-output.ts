import { z } from 'zod'
import type { LoadResult } from './load-order.ts'

const count = z.int().nonnegative()

/** What `wrk.lua` writes when the time is over, in one line. */
const summary = z.strictObject({
  requests: count,
  durationUs: count,
  p50Us: count,
  p99Us: count,
  errors: z.strictObject({ connect: count, read: count, write: count, timeout: count, status: count }),
})

/** Reads the summary below wrk's own text. @throws Error where there is none */
export function parseWrkOutput(text: string): LoadResult {
  const line = text.split('\n').find((one) => one.startsWith('{'))
  if (line === undefined) throw new Error(`wrk said nothing that can be read: ${text.slice(-500)}`)
  const { requests, durationUs, p50Us, p99Us, errors } = summary.parse(JSON.parse(line))
  const { status, ...unanswered } = errors
  return {
    // It counts every answer that was read to its end, whatever its status.
    requests: requests - status,
    failures: Object.values(unanswered).reduce((sum, failures) => sum + failures, status),
    seconds: durationUs / 1e6,
    p50Us,
    p99Us,
  }
}
