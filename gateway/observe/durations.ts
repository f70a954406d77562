import type { Histogram, Registry } from 'prom-client'

export interface DurationsOptions {
  /** Ends in `_seconds`. */
  readonly name: string
  readonly help: string
  /** Upper bounds, rising. */
  readonly bucketsMs: readonly number[]
}

/**
 * A histogram that is cheap to feed: prom-client copies labels and looks for its series at each observation, for a call as
 * much work as all other counting together.
 *
 * @returns what counts one duration
 */
export function registerDurations(
  registry: Registry,
  { name, help, bucketsMs }: DurationsOptions,
): (durationMs: number) => void {
  const counts = [...bucketsMs, Number.POSITIVE_INFINITY].map(() => 0)
  let sumMs = 0

  /** As prom-client's own histogram says it. */
  async function get() {
    let count = 0
    const buckets = counts.map((inBucket, index) => {
      count += inBucket
      const boundMs = bucketsMs[index]
      const le = boundMs === undefined ? '+Inf' : boundMs / 1000
      return { labels: { le }, value: count, metricName: `${name}_bucket` }
    })
    const values = [
      ...buckets,
      { labels: {}, value: sumMs / 1000, metricName: `${name}_sum` },
      { labels: {}, value: count, metricName: `${name}_count` },
    ]
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }

  // A registry asks for no more of a metric than this.
  registry.registerMetric({ name, get } as unknown as Histogram)
  return (durationMs) => {
    let index = 0
    while (index < bucketsMs.length && durationMs > bucketsMs[index]!) index++
    counts[index]!++
    sumMs += durationMs
  }
}
