/** What the load generator is told, and what it says. */

export interface LoadOrder {
  readonly kind: 'load'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Each call has the next of these as its `Host`. */
  readonly hosts?: readonly string[]
  readonly connections: number
  readonly seconds: number
}

export interface CallOrder {
  readonly kind: 'call'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

export interface LoadResult {
  /** Answered 2xx. */
  readonly requests: number
  /** Answered otherwise, or not at all. */
  readonly failures: number
  readonly seconds: number
  readonly p50Us: number
  readonly p99Us: number
}

export interface CallResult {
  readonly status: number
  readonly durationMs: number
}

export type Reply = { readonly result: LoadResult | CallResult } | { readonly error: string }
