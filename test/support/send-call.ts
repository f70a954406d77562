import type { Readable } from 'node:stream'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import type { CallOutcome, Instance } from '../../provider/runtime/runtime.ts'

export interface CallToSend {
  readonly method?: string
  /** Path and query. */
  readonly target?: string
  /** Beside `host`. */
  readonly rawHeaders?: RawHeaders
  readonly body?: Readable | Buffer
}

export interface CallAnswer {
  /** Absent where the program sent no head. */
  readonly status?: number
  readonly rawHeaders: RawHeaders
  /** The value of a header that stands once at most. */
  header(name: string): string | undefined
  readonly body: Buffer
  readonly outcome: CallOutcome
}

/** Sends one call to a running program and waits for all of what comes back. */
export function sendCall(instance: Instance, call: CallToSend = {}): Promise<CallAnswer> {
  const { method = 'GET', target = '/', rawHeaders = [], body } = call
  const request = { method, target, rawHeaders: ['host', 'alice.localhost:8080', ...rawHeaders] }
  const { promise, resolve } = Promise.withResolvers<CallAnswer>()
  const chunks: Buffer[] = []
  let head: { status: number; rawHeaders: RawHeaders } | undefined
  instance.call(body === undefined ? request : { ...request, body }, {
    onHead: (status, rawHeaders) => {
      head = { status, rawHeaders }
    },
    onData: (chunk) => chunks.push(chunk),
    onEnd: (outcome) => {
      const answered = head?.rawHeaders ?? []
      const header = (name: string) =>
        answered[
          answered.findIndex((value, index) => index % 2 === 0 && value.toLowerCase() === name) + 1 || -1
        ]
      resolve({ ...head, rawHeaders: answered, header, body: Buffer.concat(chunks), outcome })
    },
  })
  return promise
}
