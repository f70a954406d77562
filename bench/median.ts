/** The middle of the values, or the mean of the two in the middle; not a number for none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Between 0 (the least) and 1 (the largest), in between by linear interpolation. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * fraction
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}
