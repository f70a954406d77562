import { raceSignal } from '../base/signal.ts'

/**
 * The chunks of an HTTP body. A sender that goes quiet for `stallTimeoutMs` is given up, and so is the body as soon as
 * the reader stops.
 *
 * @throws DOMException `TimeoutError` after a stall; the reason of `signal`
 */
export async function* readBody(
  body: ReadableStream<Uint8Array> | null,
  { stallTimeoutMs }: { stallTimeoutMs: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  if (!body) return
  const reader = body.getReader()
  try {
    for (;;) {
      const stalled = AbortSignal.timeout(stallTimeoutMs)
      const next = await raceSignal(reader.read(), AbortSignal.any([signal, stalled]))
      if (next.done) return
      yield next.value
    }
  } finally {
    // Not awaited: a sender that hangs would hold up its reader here. Its failure was told, or does not matter.
    reader.cancel().catch(() => undefined)
  }
}
