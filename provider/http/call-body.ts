import { hash } from 'node:crypto'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { drainBody } from '../../protocol/http/drain-body.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createBodyHash } from './body-hash.ts'

/** The body of a call on its way to the program: counted and hashed as it passes, never held. */
export interface CallBody {
  /** What goes to the runtime; absent where the request has no body. */
  readonly body: IncomingRequest | Buffer | undefined
  /** SHA-256 of the body; asked for once the call is over. Undefined where not all of it had passed then. */
  digest(): Buffer | undefined
  /**
   * Drops what the program did not read, or the connection could not carry its next request; a caller that goes on
   * sending for too long loses it. To be called once the answer is out.
   */
  discardRest(): void
  /** Gives back the memory of a body that was held whole. To be called once the call is over. */
  release(): void
}

/** Memory for bodies that are held whole, shared by all calls. */
export interface BodyRoom {
  /** @throws ProtocolError `provider_busy` where there is none left */
  take(bytes: number): void
  give(bytes: number): void
}

export function createBodyRoom(bytesMax: number): BodyRoom {
  let bytesLeft = bytesMax
  return {
    take(bytes) {
      if (bytes > bytesLeft) throw noRoom()
      bytesLeft -= bytes
    },
    give(bytes) {
      bytesLeft += bytes
    },
  }
}

const emptyDigest = hash('sha256', '', 'buffer')
const nothing = () => undefined
const noBody = { body: undefined, discardRest: nothing, release: nothing }

/**
 * Prepares a request's body, or what a caller sends on a WebSocket. The stream stays paused until the runtime reads it.
 *
 * @param onTooLarge - Called when a body of unknown length passes the limit.
 * @throws ProtocolError `body_too_large` for one that says so itself
 */
export function openBody(request: IncomingRequest, onTooLarge: (error: ProtocolError) => void): CallBody {
  if (!request.switchesTo && !hasBody(request)) return { ...noBody, digest: () => emptyDigest }
  const bodyHash = createBodyHash()
  assertLength(request, limits.requestBodyBytesMax)
  let bytes = 0
  const { 'content-length': announced } = request.headers
  /** What was read when the call was over; what comes later is not part of what it was asked. */
  let taken: { readonly digest: Buffer | undefined } | undefined
  // Paused by hand, so that a listener does not set it flowing before the runtime listens, too.
  request.pause()
  request.on('data', (chunk: Buffer) => {
    if (taken) return
    bytes += chunk.length
    if (bytes > limits.requestBodyBytesMax) onTooLarge(tooLarge(limits.requestBodyBytesMax))
    else bodyHash.update(chunk)
  })
  const isWhole = () => (announced === undefined ? request.readableEnded : bytes === Number(announced))
  const takeDigest = () => {
    taken ??= { digest: isWhole() ? bodyHash.digest() : undefined }
    return taken.digest
  }
  return {
    body: request,
    digest: takeDigest,
    release: nothing,
    discardRest: () => drainBody(request),
  }
}

/**
 * Reads a body whole, for a call that must be compared with an earlier one before it may run. `release` gives its room
 * back.
 *
 * @throws ProtocolError `body_too_large`, `provider_busy`; DOMException `AbortError` where the caller breaks off
 */
export async function readWholeBody(
  request: IncomingRequest,
  { bytesMax, room }: { bytesMax: number; room: BodyRoom },
): Promise<CallBody> {
  if (!hasBody(request)) return { ...noBody, digest: () => emptyDigest }
  assertLength(request, bytesMax)
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    // Destroyed with its request, the connection could not carry the refusal.
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (bytes + chunk.length > bytesMax) throw tooLarge(bytesMax)
      room.take(chunk.length)
      bytes += chunk.length
      chunks.push(chunk)
    }
  } catch (error) {
    room.give(bytes)
    drainBody(request)
    throw isProtocolError(error) ? error : new DOMException('The caller has gone.', 'AbortError')
  }
  const body = Buffer.concat(chunks)
  const digest = hash('sha256', body, 'buffer')
  return { ...noBody, body, digest: () => digest, release: () => room.give(bytes) }
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

function noRoom(): ProtocolError {
  return new ProtocolError('provider_busy', 'Too many calls with an Idempotency-Key send their bodies now.', {
    hint: 'Send it again in a moment.',
  })
}
