import { findBody, headBytesMax, InvalidAnswer, parseHead } from '../../cgi/cgi.ts'
import type { Output } from './wasi.ts'

/** A program's standard output as an HTTP answer: kept while it is small, passed on as it comes when it is not. */
export interface Answer extends Output {
  /** Settles when the answer's head is known and there is something to send. */
  readonly response: Promise<Response>
  /** Sends what there is: the program waits for something. */
  flush(): void
  /** The program is done. @throws InvalidAnswer where it wrote no answer */
  end(): Promise<void>
  /** It failed: what was begun breaks off. @param instead - What to answer where nothing was sent. */
  fail(error: unknown, instead: () => Response): Promise<void>
}

/** An answer shorter than this is sent in one piece, with its length. */
const keptBytesMax = 64 * 1024

/** Statuses that have no body (RFC 9110). */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304])

export function createAnswer({ method }: { method: string }): Answer {
  const { promise: response, resolve } = Promise.withResolvers<Response>()
  let head: ResponseInit | undefined
  let hasBody = true
  let kept: Uint8Array[] = []
  let keptBytes = 0
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined

  function keep(chunk: Uint8Array): void {
    kept.push(chunk)
    keptBytes += chunk.length
  }

  function takeKept(): Uint8Array {
    const whole = kept.length === 1 ? (kept[0] as Uint8Array) : concatenate(kept, keptBytes)
    kept = []
    keptBytes = 0
    return whole
  }

  function readHead(): void {
    const bytes = takeKept()
    const bodyAt = findBody(bytes)
    if (bodyAt === undefined) {
      if (bytes.length > headBytesMax)
        throw new InvalidAnswer(`Its headers have more than ${headBytesMax} bytes.`)
      keep(bytes)
      return
    }
    const { status, headers } = parseHead(latin1.decode(bytes.subarray(0, bodyAt)))
    head = { status, headers: new Headers(headers as [string, string][]) }
    hasBody = method !== 'HEAD' && !bodiless.has(status)
    if (!hasBody) resolve(new Response(null, head))
    else if (bodyAt < bytes.length) keep(bytes.subarray(bodyAt))
  }

  function startStream(): Promise<void> | undefined {
    const { readable, writable } = new IdentityTransformStream()
    writer = writable.getWriter()
    resolve(new Response(readable, head))
    return keptBytes > 0 ? writer.write(takeKept()) : undefined
  }

  return {
    response,
    write(chunk) {
      if (writer) return writer.write(chunk)
      if (!hasBody) return undefined
      keep(chunk)
      if (!head) readHead()
      return head && hasBody && keptBytes > keptBytesMax ? startStream() : undefined
    },
    flush() {
      // Whoever reads too slowly is waited for by the next write.
      if (head && hasBody && !writer) void startStream()?.catch(() => undefined)
    },
    async end() {
      if (writer) return writer.close()
      if (!head) throw new InvalidAnswer('It wrote no answer: CGI headers, an empty line, and the body.')
      if (hasBody) resolve(new Response(takeKept(), head))
    },
    async fail(error, instead) {
      if (writer) await writer.abort(error).catch(() => undefined)
      else resolve(instead())
    },
  }
}

const latin1 = new TextDecoder('latin1')

function concatenate(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
