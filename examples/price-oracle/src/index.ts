import { askSource, describeQuote, type Source } from './ask-source.ts'
import { formatPrice, median } from './decimal.ts'

interface Env {
  readonly params: { readonly quorum: number; readonly sources: readonly Source[] }
}

/** The price of one thing in another, as the median of several exchanges: `GET /?pair=BTC-USD`. */
export default {
  async fetch(request: Request, { params }: Env): Promise<Response> {
    const url = new URL(request.url)
    if (url.pathname !== '/')
      return refuse(404, { error: `There is nothing at ${url.pathname}.`, hint: usage })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return refuse(
        405,
        { error: `${request.method} is not possible here.`, hint: usage },
        { allow: 'GET, HEAD' },
      )
    }
    const pairs = url.searchParams.getAll('pair')
    const [, base, quote] = /^([A-Za-z0-9]{2,10})-([A-Za-z0-9]{2,10})$/.exec(pairs[0] ?? '') ?? []
    if (pairs.length !== 1 || base === undefined || quote === undefined) {
      return refuse(400, { error: '"pair" is not of the form BTC-USD.', field: 'pair', hint: usage })
    }
    const quotes = await Promise.all(params.sources.map((source) => askSource(source, { base, quote })))
    const prices = quotes.flatMap(({ price }) => (price === undefined ? [] : [price]))
    const sources = quotes.map(describeQuote)
    if (prices.length < params.quorum) {
      const error = `${prices.length} of ${quotes.length} sources have a price, and ${params.quorum} are needed.`
      return refuse(502, { error, hint: 'Check the pair; if it is right, try again later.', sources })
    }
    return Response.json({
      pair: `${base}-${quote}`.toUpperCase(),
      price: formatPrice(median(prices)),
      sources,
    })
  },
}

const usage = 'Send GET /?pair=BTC-USD.'

interface Refusal {
  readonly error: string
  readonly field?: string
  readonly hint: string
  readonly sources?: readonly Record<string, string>[]
}

function refuse(status: number, refusal: Refusal, headers: Record<string, string> = {}): Response {
  return Response.json(refusal, { status, headers })
}
