import { formatPrice, parsePrice } from './decimal.ts'

/** Where a price is read: a URL with {BASE}, {QUOTE}, {base} and {quote} in it, and the way to the price in its JSON. */
export interface Source {
  readonly url: string
  readonly price: readonly string[]
}

export interface Quote {
  readonly host: string
  readonly price?: bigint
  /** Why there is none. */
  readonly error?: string
}

const answerBytesMax = 64 * 1024
const sourceTimeoutMs = 4_000

/** Never throws: a source that fails is one voice less. */
export async function askSource(source: Source, pair: { base: string; quote: string }): Promise<Quote> {
  const url = new URL(fill(source.url, pair))
  const { host } = url
  try {
    const signal = AbortSignal.timeout(sourceTimeoutMs)
    const answer = await fetch(url, { signal, redirect: 'manual', headers: { accept: 'application/json' } })
    const text = await readText(answer)
    // This header is the provider's own, and says that the source was not reached.
    const refusal = answer.headers.get('khachapuri-egress')
    if (refusal !== null) return { host, error: refusal }
    if (!answer.ok) return { host, error: `status ${answer.status}` }
    const price = parsePrice(dig(JSON.parse(text), source.price))
    return price === undefined ? { host, error: 'no price in its answer' } : { host, price }
  } catch (error) {
    return { host, error: error instanceof Error ? error.name : 'failed' }
  }
}

export function describeQuote({ host, price, error }: Quote): Record<string, string> {
  return price === undefined ? { host, error: error ?? 'failed' } : { host, price: formatPrice(price) }
}

function fill(template: string, { base, quote }: { base: string; quote: string }): string {
  const words: Readonly<Record<string, string>> = {
    BASE: base.toUpperCase(),
    QUOTE: quote.toUpperCase(),
    base: base.toLowerCase(),
    quote: quote.toLowerCase(),
  }
  return template.replaceAll(/\{(\w+)\}/g, (whole, name: string) => words[name] ?? whole)
}

function dig(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, name) =>
      typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[name] : undefined,
    value,
  )
}

async function readText(answer: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = answer.body?.getReader()
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.byteLength
    if (bytes > answerBytesMax) {
      await reader?.cancel()
      throw new RangeError('The answer is too long.')
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text + decoder.decode()
}
