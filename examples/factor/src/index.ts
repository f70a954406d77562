import { factorise, numMax } from './factorise.ts'

const bodyBytesMax = 1024

/** Prime factors over HTTP: `POST {"num":600}` or `GET ?num=600` answers `2,2,2,3,5,5`. */
export default {
  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url)
    if (url.pathname !== '/')
      return refuse(404, { error: `There is nothing at ${url.pathname}.`, hint: usage })
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return answer(readQuery(url.searchParams))
      case 'POST':
        return answer(await readBody(request))
      default:
        return refuse(405, { error: `${request.method} is not possible here.`, hint: usage }, { allow })
    }
  },
}

const allow = 'GET, HEAD, POST'
const usage = 'Send GET /?num=600, or POST / with {"num":600}.'

/** What is wrong with a request, in words for its sender. */
interface Refusal {
  readonly error: string
  readonly field?: string
  readonly hint: string
}

type Input = { readonly num: bigint } | { readonly status: number; readonly refusal: Refusal }

function answer(input: Input): Response {
  if (!('num' in input)) return refuse(input.status, input.refusal)
  const factorisation = factorise(input.num)
  if (factorisation.kind === 'exhausted') {
    return refuse(422, {
      error: `"num" could not be factored with the work that one call may do.`,
      field: 'num',
      hint: 'Send a smaller number.',
    })
  }
  // No newline at the end: the body is exactly the list, so that its digest is that of the list.
  return new Response(factorisation.primes.join(','), {
    headers: { 'content-type': 'text/plain; charset=utf-8' },
  })
}

function readQuery(query: URLSearchParams): Input {
  const values = query.getAll('num')
  if (values.length > 1) return invalid('"num" is given more than once.')
  return parseNum(values[0])
}

async function readBody(request: Request): Promise<Input> {
  const text = await readText(request)
  if (text === undefined) {
    const error = `The body has more than ${bodyBytesMax} bytes.`
    return { status: 413, refusal: { error, hint: usage } }
  }
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return { status: 400, refusal: { error: 'The body is not JSON.', hint: usage } }
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    return { status: 400, refusal: { error: 'The body is not a JSON object.', hint: usage } }
  }
  return parseNum((body as { num?: unknown }).num)
}

/** Takes a JSON number, or a string of digits for what a JSON number cannot hold exactly. */
function parseNum(value: unknown): Input {
  if (value === undefined) return invalid('"num" is missing.')
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    return invalid(
      '"num" is too large for a JSON number.',
      'Send it as a string: {"num":"9007199254740993"}.',
    )
  }
  const digits = typeof value === 'number' ? String(value) : value
  // The length first: a megabyte of digits must not become a number.
  if (typeof digits !== 'string' || digits.length > 40 || !/^\d+$/.test(digits)) {
    return invalid('"num" is not a whole number.')
  }
  const num = BigInt(digits)
  if (num < 2n || num > numMax) return invalid(`"num" is not within 2 … ${numMax}.`)
  return { num }
}

function invalid(error: string, hint: string = usage): Input {
  return { status: 400, refusal: { error, field: 'num', hint } }
}

/** The body as text, or undefined when it is longer than a number needs. */
async function readText(request: Request): Promise<string | undefined> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = request.body?.getReader()
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.byteLength
    if (bytes > bodyBytesMax) {
      await reader?.cancel()
      return undefined
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text + decoder.decode()
}

function refuse(status: number, refusal: Refusal, headers: Record<string, string> = {}): Response {
  return Response.json(refusal, { status, headers })
}
