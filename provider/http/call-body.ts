import { createHash } from 'node:crypto'
import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'

/** The body of a call on its way to the program: counted and hashed as it passes, never held. */
export interface CallBody {
  /** What goes to the runtime; absent where the request has no body. */
  readonly body: IncomingRequest | Buffer | undefined
  /** SHA-256 of what has passed; asked for once the call is over. */
  digest(): Buffer
  /**
   * Drops what the program did not read, or the connection could not carry its next request; a caller that goes on
   * sending for too long loses it. To be called once the answer is out.
   */
  discardRest(): void
}

const emptyDigest = createHash('sha256').digest()
const nothing = () => undefined

/**
 * Prepares a request's body. The stream stays paused until the runtime reads it.
 *
 * @param onTooLarge - Called when a body of unknown length passes the limit.
 * @throws ProtocolError `body_too_large` for one that says so itself
 */
export function openBody(request: IncomingRequest, onTooLarge: (error: ProtocolError) => void): CallBody {
  if (!hasBody(request)) return { body: undefined, digest: () => emptyDigest, discardRest: nothing }
  const hash = createHash('sha256')
  assertLength(request, limits.requestBodyBytesMax)
  let bytes = 0
  let unreadBytes: number | undefined
  let digest: Buffer | undefined
  // Paused by hand, so that a listener does not set it flowing before the runtime listens, too.
  request.pause()
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (unreadBytes !== undefined) {
      unreadBytes += chunk.length
      if (unreadBytes > limits.unreadBodyBytesMax) request.destroy()
    } else if (bytes > limits.requestBodyBytesMax) onTooLarge(tooLarge(limits.requestBodyBytesMax))
    // A program may answer before it has read everything; what comes later is not part of what it was asked.
    else if (!digest) hash.update(chunk)
  })
  const takeDigest = () => {
    digest ??= hash.digest()
    return digest
  }
  return {
    body: request,
    digest: takeDigest,
    discardRest() {
      unreadBytes ??= 0
      if (!request.readableEnded && !request.destroyed) request.resume()
    },
  }
}

/** Reads a body whole, for a call that must be compared with an earlier one before it may run. */
export async function readWholeBody(request: IncomingRequest, bytesMax: number): Promise<CallBody> {
  const chunks: Buffer[] = []
  if (hasBody(request)) {
    assertLength(request, bytesMax)
    let bytes = 0
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > bytesMax) throw tooLarge(bytesMax)
      chunks.push(chunk)
    }
  }
  const body = Buffer.concat(chunks)
  const digest = createHash('sha256').update(body).digest()
  return { body: hasBody(request) ? body : undefined, digest: () => digest, discardRest: nothing }
}

/** RFC 9112 section 6.3: a request has a body if it says how that is framed. */
function hasBody({ headers }: IncomingRequest): boolean {
  const length = headers['content-length']
  return length !== undefined ? length !== '0' : headers['transfer-encoding'] !== undefined
}

function assertLength({ headers }: IncomingRequest, bytesMax: number): void {
  if (Number(headers['content-length'] ?? 0) > bytesMax) throw tooLarge(bytesMax)
}

function tooLarge(bytesMax: number): ProtocolError {
  return new ProtocolError('body_too_large', `The request body has more than ${bytesMax} bytes.`, {
    hint: 'Send less at once, or put it on IPFS and pass its CID.',
    details: { bytesMax },
  })
}
