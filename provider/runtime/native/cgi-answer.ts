import type { RawHeaders } from '../../../protocol/http/upstream.ts'
import { findBody, headBytesMax, InvalidAnswer, parseHead } from '../cgi/cgi.ts'

/** Where the parts of an answer go. */
export interface AnswerReceiver {
  onHead(status: number, rawHeaders: RawHeaders): void
  onData(chunk: Buffer): void
}

/** A program's standard output as an HTTP answer, passed on as it comes. */
export interface CgiAnswer {
  /** @throws InvalidAnswer, HeadTooLarge, TooLarge */
  push(chunk: Buffer): void
  /** The program is done. @throws InvalidAnswer where that was no whole answer */
  end(): void
}

export class TooLarge extends Error {}
export class HeadTooLarge extends InvalidAnswer {}

/** Statuses that have no body (RFC 9110). */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304])

export function createCgiAnswer(
  { method, bytesMax }: { method: string; bytesMax: number },
  { onHead, onData }: AnswerReceiver,
): CgiAnswer {
  let kept: Buffer = Buffer.alloc(0)
  let lookedTo = 0
  let isHeadRead = false
  let hasBody = true
  let expectedBytes: number | undefined
  let bytes = 0

  function readHead(): Buffer | undefined {
    const bodyAt = findBody(kept, lookedTo)
    if (bodyAt === undefined || bodyAt > headBytesMax) {
      if (kept.length > headBytesMax) throw new HeadTooLarge()
      // The last two may be the first of a line end and an empty line.
      lookedTo = Math.max(0, kept.length - 2)
      return undefined
    }
    const { status, headers } = parseHead(kept.toString('latin1', 0, bodyAt))
    hasBody = method !== 'HEAD' && !bodiless.has(status)
    expectedBytes = readLength(headers)
    isHeadRead = true
    onHead(status, headers.flat())
    return kept.subarray(bodyAt)
  }

  function pushBody(chunk: Buffer): void {
    bytes += chunk.length
    if (bytes > bytesMax) throw new TooLarge()
    if (!hasBody || chunk.length === 0) return
    // Whatever is beyond it would be taken for the beginning of another answer.
    if (expectedBytes !== undefined && bytes > expectedBytes)
      throw new InvalidAnswer('Its body is longer than its Content-Length.')
    onData(chunk)
  }

  return {
    push(chunk) {
      if (isHeadRead) return pushBody(chunk)
      kept = kept.length === 0 ? chunk : Buffer.concat([kept, chunk])
      const body = readHead()
      if (!body) return
      kept = Buffer.alloc(0)
      pushBody(body)
    },
    end() {
      if (!isHeadRead)
        throw new InvalidAnswer('It wrote no answer: CGI headers, an empty line, and the body.')
      if (hasBody && expectedBytes !== undefined && bytes < expectedBytes)
        throw new InvalidAnswer('Its body is shorter than its Content-Length.')
    },
  }
}

type Headers = readonly (readonly [name: string, value: string])[]

function readLength(headers: Headers): number | undefined {
  const values = headers.filter(([name]) => name.toLowerCase() === 'content-length').map(([, value]) => value)
  const [value] = values
  if (value === undefined) return undefined
  if (values.length === 1 && /^\d{1,15}$/.test(value)) return Number(value)
  throw new InvalidAnswer('Its Content-Length is not one number.')
}
