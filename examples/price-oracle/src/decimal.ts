/** Prices are whole numbers of this fraction of a unit: floats would not give the same median everywhere. */
const digits = 8
const scale = 10n ** BigInt(digits)

/** Reads a price as exchanges write it. @returns undefined for anything but a positive decimal number in bounds */
export function parsePrice(value: unknown): bigint | undefined {
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string') return undefined
  const [, whole, fraction = ''] = /^(\d{1,18})(?:\.(\d{1,30}))?$/.exec(text) ?? []
  if (whole === undefined) return undefined
  const price = BigInt(whole) * scale + BigInt(fraction.slice(0, digits).padEnd(digits, '0'))
  return price > 0n ? price : undefined
}

export function formatPrice(price: bigint): string {
  const fraction = (price % scale).toString().padStart(digits, '0').replace(/0+$/, '')
  return `${price / scale}${fraction && `.${fraction}`}`
}

/** The middle one; between two of them, rounded down. One liar among three moves it no further than to a neighbour. */
export function median(prices: readonly bigint[]): bigint {
  const sorted = prices.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const upper = sorted[sorted.length >> 1] as bigint
  const lower = sorted[(sorted.length - 1) >> 1] as bigint
  return (lower + upper) / 2n
}
