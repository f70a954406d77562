import { ProtocolError } from '../errors.ts'
import type { RawHeaders, Upstream, UpstreamRequest } from './upstream.ts'

export interface FetchedAnswer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly body: Buffer
}

/**
 * Sends one request and waits for all of what comes back, up to `bytesMax`.
 *
 * @throws ProtocolError what the way failed with, `provider_answer_invalid` past `bytesMax`; the reason of `signal`
 */
export function fetchWhole(
  upstream: Upstream,
  request: UpstreamRequest,
  bytesMax: number,
  signal: AbortSignal,
): Promise<FetchedAnswer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const chunks: Buffer[] = []
    let head: Pick<FetchedAnswer, 'status' | 'rawHeaders'> = { status: 0, rawHeaders: [] }
    let bytes = 0
    const settle = (act: () => void) => {
      signal.removeEventListener('abort', giveUp)
      act()
    }
    const exchange = upstream.send(request, {
      onHead(status, rawHeaders) {
        head = { status, rawHeaders }
      },
      onData(chunk) {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > bytesMax) giveUp()
      },
      onEnd: () => settle(() => resolve({ ...head, body: Buffer.concat(chunks) })),
      onError: (error) => settle(() => reject(error)),
    })
    function giveUp(): void {
      exchange.abort()
      settle(() => reject(signal.aborted ? signal.reason : tooLong(bytesMax)))
    }
    signal.addEventListener('abort', giveUp, { once: true })
  })
}

const tooLong = (bytesMax: number) =>
  new ProtocolError('provider_answer_invalid', `The answer has more than ${bytesMax} bytes.`, {
    hint: 'Tell the provider: nothing so long was asked for.',
  })
