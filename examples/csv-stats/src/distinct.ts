import { detach } from './detach.ts'

export interface DistinctCounter {
  add(value: string): void
  result(): { readonly distinct: number; readonly distinctExact: boolean }
}

/**
 * Counts different values up to `distinctMax`, and then says "at least". Long values are counted by length and a hash
 * of 53 bits, so that what is kept is bounded, too.
 */
export function createDistinctCounter(distinctMax: number): DistinctCounter {
  const seen = new Set<string>()
  let distinct = 0
  let distinctExact = true

  return {
    add(value) {
      if (!distinctExact) return
      const key = value.length > keyLengthMax ? `${value.length} ${hash53(value)}` : value
      if (seen.has(key)) return
      if (distinct === distinctMax) {
        distinctExact = false
        seen.clear()
        return
      }
      distinct += 1
      seen.add(detach(key))
    },
    result: () => ({ distinct, distinctExact }),
  }
}

const keyLengthMax = 64

/** Two multiplicative hashes side by side (cyrb53). Somebody who makes values collide spoils only his own count. */
function hash53(text: string): number {
  let low = 0xdeadbeef
  let high = 0x41c6ce57
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    low = Math.imul(low ^ code, 2654435761)
    high = Math.imul(high ^ code, 1597334677)
  }
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  return 4294967296 * (2097151 & high) + (low >>> 0)
}
