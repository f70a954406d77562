import { problemType, toProtocolError } from '../errors.ts'
import type { OutgoingResponse } from './listener.ts'
import type { RawHeaders } from './upstream.ts'

/**
 * Answers with a problem document. Where an answer has begun already, it is broken off instead: a caller must never
 * take half an answer for a whole one.
 */
export function sendProblem(response: OutgoingResponse, thrown: unknown, rawHeaders: RawHeaders = []): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const { status, body, more } = formatProblem(thrown)
  response.writeHead(status, [
    'content-type',
    problemType,
    'cache-control',
    'no-store',
    ...more,
    ...rawHeaders,
    'content-length',
    String(body.length),
  ])
  response.end(body)
}

/** The same as a `Response`, for Hono. */
export function problemResponse(thrown: unknown): Response {
  const { status, body, more } = formatProblem(thrown)
  return new Response(body, {
    status,
    headers: {
      'content-type': problemType,
      'cache-control': 'no-store',
      ...Object.fromEntries(more.map((name, i) => [name, more[i + 1]]).filter((_, i) => i % 2 === 0)),
    },
  })
}

/** The same as the bytes of a whole HTTP/1.1 answer, for a socket that has no response object; it is to be closed then. */
export function rawProblem(thrown: unknown): string {
  const { status, body, title } = formatProblem(thrown)
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    `content-type: ${problemType}`,
    'cache-control: no-store',
    'connection: close',
    `content-length: ${body.length}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body.toString('latin1')}`
}

interface FormattedProblem {
  readonly status: number
  readonly title: string
  readonly body: Buffer<ArrayBuffer>
  /** Headers that say to a client of HTTP what the problem has in its members. */
  readonly more: readonly string[]
}

function formatProblem(thrown: unknown): FormattedProblem {
  const problem = toProtocolError(thrown).toProblem()
  const { status, title, retryAfterSeconds, allow } = problem
  return {
    status,
    title,
    body: Buffer.from(`${JSON.stringify(problem)}\n`),
    more: [
      ...(typeof retryAfterSeconds === 'number' ? ['retry-after', String(retryAfterSeconds)] : []),
      ...(Array.isArray(allow) ? ['allow', allow.join(', ')] : []),
    ],
  }
}
