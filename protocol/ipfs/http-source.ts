import type { Blockstore } from 'interface-blockstore'
import { readBounded } from '../base/bytes.ts'
import { parseJson } from '../canonical-json.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../errors.ts'
import { limits } from '../limits.ts'
import { blockMismatch, blockNotFound } from './block.ts'
import { readBody } from './body-stream.ts'
import { blockCodec, type CID, isBlockOf } from './cid.ts'
import { carMediaType, rawMediaType } from './media-types.ts'
import { receiveCar } from './receive-car.ts'
import type { DagBudget } from './walk.ts'

export interface FetchOptions {
  readonly cid: CID
  readonly blockstore: Pick<Blockstore, 'put'>
  readonly budget: DagBudget
}

/**
 * Fetches everything under a CID from one keeper into a store; what arrives there is verified. Redirects are not
 * followed: a keeper that was named must answer itself.
 *
 * @throws ProtocolError `cid_not_found`, `content_unreachable`, `cid_mismatch`, `content_too_large`, `program_invalid`
 */
export async function fetchFromKeeper(
  keeperUrl: URL,
  { cid, blockstore, budget }: FetchOptions,
  signal: AbortSignal,
): Promise<void> {
  const isRaw = cid.code === blockCodec.raw
  const url = new URL(`/ipfs/${cid}?format=${isRaw ? 'raw' : 'car'}`, keeperUrl)
  const body = readBody(
    await openAnswer(url, cid, signal),
    { stallTimeoutMs: limits.contentStallTimeoutMs },
    signal,
  )
  const guarded = guardBody(body, { cid, keeperUrl }, signal)
  if (!isRaw) return receiveCar(guarded, { root: cid, blockstore, budget }, signal)
  const bytes = await readBounded(guarded, limits.blockBytesMax)
  if (!bytes || !isBlockOf(cid, bytes)) throw blockMismatch(cid, `The keeper ${keeperUrl.host}`)
  await blockstore.put(cid, bytes)
}

/** @returns the body of a 200; every other answer is an error. */
async function openAnswer(
  url: URL,
  cid: CID,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array> | null> {
  const late = new AbortController()
  const timer = setTimeout(
    () => late.abort(new DOMException('No answer', 'TimeoutError')),
    limits.contentHeadersTimeoutMs,
  )
  let response: Response
  try {
    response = await fetch(url, {
      headers: {
        accept: cid.code === blockCodec.raw ? rawMediaType : carMediaType,
        'accept-encoding': 'identity',
      },
      redirect: 'manual',
      signal: AbortSignal.any([signal, late.signal]),
    })
  } catch (cause) {
    signal.throwIfAborted()
    throw sourceUnreachable({ cid, keeperUrl: url }, 'does not answer', cause)
  } finally {
    clearTimeout(timer)
  }
  if (response.status === 200) return response.body
  throw await refuseAnswer(response, { cid, keeperUrl: url }, signal)
}

async function refuseAnswer(response: Response, of: Asked, signal: AbortSignal): Promise<ProtocolError> {
  const { status } = response
  const body = readBody(response.body, { stallTimeoutMs: limits.contentHeadersTimeoutMs }, signal)
  const bytes = await readBounded(body, limits.problemBytesMax).catch(() => undefined)
  signal.throwIfAborted()
  if (status === 404 || status === 410) return blockNotFound(of.cid)
  const problem = bytes && parseProblem(parseJson(bytes))
  if (problem?.code === 'cid_mismatch')
    return blockMismatch(of.cid, `The store of the keeper ${of.keeperUrl.host}`)
  return sourceUnreachable(of, `answers ${status}`)
}

interface Asked {
  readonly cid: CID
  readonly keeperUrl: URL
}

/** A connection that breaks is an unreachable source, whatever the HTTP client throws for it. */
async function* guardBody(
  body: AsyncIterable<Uint8Array>,
  of: Asked,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (cause) {
    signal.throwIfAborted()
    throw isProtocolError(cause) ? cause : sourceUnreachable(of, 'broke off its answer', cause)
  }
}

function sourceUnreachable({ cid, keeperUrl }: Asked, what: string, cause?: unknown): ProtocolError {
  return new ProtocolError('content_unreachable', `The keeper ${keeperUrl.host} ${what}.`, {
    hint: 'Ask again later, or ask another keeper.',
    details: { cid: cid.toString() },
    cause,
  })
}
