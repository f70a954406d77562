import type { RawHeaders, UpstreamRequest } from '../../protocol/http/upstream.ts'
import type { CallOutcome, Instance } from './runtime.ts'

/** A whole answer in memory. */
export interface Answer {
  /** 0 where no head came. */
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: Buffer
  readonly outcome: CallOutcome
}

/** Calls a program and waits for all that it answers; for calls of our own, as nothing else may be buffered whole. */
export function collectAnswer(instance: Instance, request: UpstreamRequest): Promise<Answer> {
  return new Promise((resolve) => {
    let head: { status: number; rawHeaders: RawHeaders } = { status: 0, rawHeaders: [] }
    const chunks: Buffer[] = []
    instance.call(request, {
      onHead(status, rawHeaders) {
        head = { status, rawHeaders }
      },
      onData: (chunk) => void chunks.push(chunk),
      onEnd: (outcome) => resolve({ ...head, body: Buffer.concat(chunks), outcome }),
    })
  })
}
