export interface Moments {
  add(value: number): void
  summary(): {
    readonly min: number
    readonly max: number
    readonly mean: number
    /** Of a sample: NaN for fewer than two values. */
    readonly standardDeviation: number
  }
}

/** Mean and deviation in one pass by Welford's method, which does not lose digits as sums of squares do. */
export function createMoments(): Moments {
  let count = 0
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  let mean = 0
  let squares = 0

  return {
    add(value) {
      count += 1
      if (value < min) min = value
      if (value > max) max = value
      const before = value - mean
      mean += before / count
      squares += before * (value - mean)
    },
    summary: () => ({ min, max, mean, standardDeviation: Math.sqrt(squares / (count - 1)) }),
  }
}
