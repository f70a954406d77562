const answerBytesMax = 64 * 1024
const sourceTimeoutMs = 5_000

export interface Minute {
  readonly symbol: string
  /** Its beginning, in seconds since 1970. */
  readonly minute: number
}

/** A minute that is over: of one that is not, two callers could be told two prices. */
export function minuteOf(time: number, nowMs: number): number {
  const minute = time - (time % 60)
  if ((minute + 60) * 1000 > nowMs) throw new RangeError(`The minute from ${minute} is not over yet.`)
  return minute
}

/**
 * The price at which a minute opened, in whole cents, rounded down.
 *
 * @param origin - Of a server that answers `/products/<symbol>/candles` with `[[time, low, high, open, close, volume], …]`.
 */
export async function readPriceCents({ symbol, minute }: Minute, origin: string): Promise<number> {
  if (!/^[A-Z0-9]{1,10}-[A-Z0-9]{1,9}$/.test(symbol))
    throw new RangeError(`"${symbol}" is no symbol such as BTC-USD.`)
  const url = new URL(`/products/${symbol}/candles`, origin)
  const at = (seconds: number) => new Date(seconds * 1000).toISOString()
  url.search = new URLSearchParams({ granularity: '60', start: at(minute), end: at(minute + 60) }).toString()
  const answer = await fetch(url, {
    signal: AbortSignal.timeout(sourceTimeoutMs),
    redirect: 'manual',
    headers: { accept: 'application/json', 'user-agent': 'khachapuri-attested-price' },
  })
  if (!answer.ok) throw new Error(`The exchange answered with status ${answer.status}.`)
  const text = await answer.text()
  if (text.length > answerBytesMax) throw new Error('The exchange answered with too much.')
  const candles: unknown = JSON.parse(text)
  const candle = Array.isArray(candles)
    ? candles.find((one) => Array.isArray(one) && one[0] === minute)
    : undefined
  const cents = candle && toCents(candle[3])
  if (cents === undefined) throw new Error(`The exchange has no price of ${symbol} at ${minute}.`)
  return cents
}

/** By its decimal digits: 64010.29 * 100 is a little less than 6401029. */
export function toCents(price: unknown): number | undefined {
  const match = typeof price === 'number' ? /^(\d{1,13})(?:\.(\d+))?$/.exec(String(price)) : null
  return match ? Number(`${match[1]}${(match[2] ?? '').padEnd(2, '0').slice(0, 2)}`) : undefined
}
