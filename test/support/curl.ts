import { type IncomingMessage, request } from 'node:http'
import type { Readable } from 'node:stream'
import { isProtocolError, type Problem, parseProblem, problemType } from '../../protocol/errors.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'

/** A request as curl sends it: to an address, with any `Host`, and nothing added. */
export interface CurlRequest {
  /** Where to connect. */
  readonly port: number
  /** The `Host` header. */
  readonly host: string
  readonly path: string
  readonly method?: string
  /** Names and values in turn, sent as they are; equal names may stand more than once. */
  readonly rawHeaders?: RawHeaders
  /** A stream goes out in chunks, of a length that nobody was told. */
  readonly body?: string | Uint8Array | Readable
  readonly signal?: AbortSignal
  /** Hears of the answer's body as it comes. */
  readonly onData?: (chunk: Buffer) => void
}

export interface CurlAnswer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly rawTrailers: RawHeaders
  /** All values under a name, joined as Node does. */
  header(name: string): string | undefined
  readonly body: Buffer
  readonly text: string
  json<T = Record<string, unknown>>(): T
  /** The answer as a problem document. @throws where it is anything else */
  problem(): Problem
}

/** Sends one request on a connection of its own and waits for the whole answer; one that breaks off rejects. */
export function curl({ port, host, path, method, rawHeaders = [], body, signal, onData }: CurlRequest) {
  const { promise, resolve, reject } = Promise.withResolvers<CurlAnswer>()
  const isStream = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)
  const bytes = isStream || body === undefined ? undefined : Buffer.from(body)
  const framing = isStream
    ? ['transfer-encoding', 'chunked']
    : bytes && !rawHeaders.some((name, i) => i % 2 === 0 && /^content-length$/i.test(name))
      ? ['content-length', String(bytes.byteLength)]
      : []
  const outgoing = request(
    {
      host: '127.0.0.1',
      port,
      path,
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: ['host', host, 'connection', 'close', ...rawHeaders, ...framing],
      agent: false,
      ...(signal && { signal }),
    },
    (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        onData?.(chunk)
      })
      response.on('error', reject)
      response.on('end', () => {
        if (!response.complete) return reject(new Error('The answer broke off.'))
        resolve(toAnswer(response.statusCode ?? 0, response, Buffer.concat(chunks)))
      })
    },
  )
  outgoing.on('error', reject)
  if (isStream) {
    body.on('error', () => undefined)
    body.pipe(outgoing)
  } else outgoing.end(bytes)
  return promise
}

function toAnswer(
  status: number,
  { rawHeaders, rawTrailers, headers }: Pick<IncomingMessage, 'rawHeaders' | 'rawTrailers' | 'headers'>,
  body: Buffer,
): CurlAnswer {
  const header = (name: string) => {
    const value = headers[name.toLowerCase()]
    return Array.isArray(value) ? value.join(', ') : value
  }
  const text = body.toString('utf8')
  return {
    status,
    rawHeaders,
    rawTrailers,
    header,
    body,
    text,
    json: () => JSON.parse(text),
    problem() {
      const problem = header('content-type') === problemType ? parseProblem(JSON.parse(text)) : undefined
      if (!problem || problem.status !== status)
        throw new Error(`${status} is no problem document: ${text.slice(0, 500)}`)
      return problem
    },
  }
}

/** The code with which something refuses; the value itself where it does not, so that a test shows it. */
export async function codeOf(act: Promise<unknown>): Promise<unknown> {
  return act.catch((error: unknown) => (isProtocolError(error) ? error.code : error))
}
