import { randomFillSync } from 'node:crypto'

/** W3C Trace Context (level 1): which trace a request belongs to, and which span of it is the caller's. */
export interface TraceParent {
  /** 32 hex digits, not all zero. */
  readonly traceId: string
  /** 16 hex digits, not all zero. */
  readonly spanId: string
  readonly isSampled: boolean
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Reads `traceparent`. @returns undefined for what is none: then a new trace begins, as the standard has it */
export function parseTraceParent(text: string | string[] | undefined): TraceParent | undefined {
  if (typeof text !== 'string' || text.length > 512) return undefined
  const [, version, traceId = '', spanId = '', flags = '', rest] = pattern.exec(text) ?? []
  if (version === undefined || version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

export function formatTraceParent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`
}

/** Makes ids of traces. Random bytes are fetched by the page: one at a time they cost more than all the rest. */
export function createTraceIds(): { readonly next: () => TraceParent } {
  const pool = Buffer.alloc(24 * 128)
  let used = pool.length
  return {
    next() {
      if (used === pool.length) {
        randomFillSync(pool)
        used = 0
      }
      // An id of zeros only would be none; it does not come up in the life of a universe, and costs nothing here.
      const traceId = pool.toString('hex', used, used + 16)
      const spanId = pool.toString('hex', used + 16, used + 24)
      used += 24
      return { traceId, spanId, isSampled: false }
    },
  }
}
