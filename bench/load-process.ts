import { request } from 'node:http'
import { createRequire } from 'node:module'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { CallOrder, CallResult, LoadOrder, LoadResult, Reply } from './load-order.ts'
import { runWrk } from './wrk.ts'

/**
 * The load generator, in a process of its own: wrk or autocannon for load, one `http.request` for a single call.
 *
 * @param argv - where wrk is; without it, autocannon makes the load
 */
const [wrk] = process.argv.slice(2)

interface AutocannonResult {
  readonly errors: number
  readonly timeouts: number
  readonly non2xx: number
  readonly statusCodeStats: Readonly<Record<string, unknown>>
  /** Seconds, to a hundredth. */
  readonly duration: number
}

interface AutocannonTracker {
  on(
    event: 'response',
    listener: (client: unknown, status: number, bytes: number, durationMs: number) => void,
  ): void
}

type Autocannon = (
  options: Readonly<Record<string, unknown>>,
  done: (error: Error | null, result: AutocannonResult) => void,
) => AutocannonTracker

// It has no types.
const autocannon = createRequire(import.meta.url)('autocannon') as Autocannon

process.on('message', (order: LoadOrder | CallOrder) => {
  const work: Promise<LoadResult | CallResult> =
    order.kind === 'call' ? call(order) : wrk ? runWrk(wrk, order) : load(order)
  work.then(
    (result) => reply({ result }),
    (error: Error) => reply({ error: error.message }),
  )
})

function reply(message: Reply): void {
  process.send?.(message)
}

/** Its own histogram has milliseconds; a hello takes a fraction of one. */
async function load({ url, headers, hosts, connections, seconds }: LoadOrder): Promise<LoadResult> {
  const latencies = createHistogram()
  const { errors, timeouts, non2xx, statusCodeStats, duration } = await new Promise<AutocannonResult>(
    (resolve, reject) => {
      const requests = hosts && { requests: [{ setupRequest: takeTurns(hosts) }] }
      const options = { url, headers, connections, duration: seconds, sampleInt: 100, ...requests }
      const tracker = autocannon(options, (error, result) => (error ? reject(error) : resolve(result)))
      tracker.on('response', (_client, _status, _bytes, durationMs) => {
        latencies.record(Math.max(1, Math.round(durationMs * 1000)))
      })
    },
  )
  if (errors + timeouts + non2xx > 0) {
    const statuses = JSON.stringify(statusCodeStats)
    throw new Error(`${url}: ${errors} errors, ${timeouts} timeouts, answers that were not 2xx: ${statuses}`)
  }
  return summarise(latencies, duration)
}

interface AutocannonRequest {
  readonly headers: Readonly<Record<string, string>>
}

/** @returns what autocannon asks before each request. */
function takeTurns(hosts: readonly string[]): (request: AutocannonRequest) => AutocannonRequest {
  let turn = 0
  return (request) => ({
    ...request,
    headers: { ...request.headers, host: hosts[turn++ % hosts.length] as string },
  })
}

function summarise(latencies: RecordableHistogram, seconds: number): LoadResult {
  return {
    requests: latencies.count,
    failures: 0,
    seconds,
    p50Us: latencies.percentile(50),
    p99Us: latencies.percentile(99),
  }
}

/** One call over a new connection, from its start to the last byte. */
function call({ url, headers }: CallOrder): Promise<CallResult> {
  return new Promise((resolve, reject) => {
    const startedMs = performance.now()
    const outgoing = request(url, { headers, agent: false }, (response) => {
      response.resume()
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, durationMs: performance.now() - startedMs }),
      )
    })
    outgoing.on('error', reject)
    outgoing.end()
  })
}
