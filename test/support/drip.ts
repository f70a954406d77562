import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import type { CallOutcome, Instance } from '../../provider/runtime/runtime.ts'

/** A call whose answer is watched while it comes. */
export interface Dripping {
  /** Once so many bytes have come. @throws where it ends before */
  bytes(count: number): Promise<void>
  readonly outcome: Promise<CallOutcome>
}

export function drip(program: Instance, request: UpstreamRequest): Dripping {
  const ended = Promise.withResolvers<CallOutcome>()
  let received = 0
  let heard = Promise.withResolvers<void>()
  program.call(request, {
    onHead: () => undefined,
    onData(chunk) {
      received += chunk.length
      heard.resolve()
      heard = Promise.withResolvers()
    },
    onEnd: ended.resolve,
  })
  const tooEarly = ended.promise.then((outcome) => {
    throw new Error(`It ended with ${received} bytes: ${outcome.kind}.`)
  })
  tooEarly.catch(() => undefined)
  return {
    outcome: ended.promise,
    async bytes(count) {
      while (received < count) await Promise.race([heard.promise, tooEarly])
    },
  }
}
