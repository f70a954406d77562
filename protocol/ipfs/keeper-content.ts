import type { Writable } from 'node:stream'
import type { Context } from 'hono'
import type { Blockstore } from 'interface-blockstore'
import type { Log } from '../base/log.ts'
import { ProtocolError, toProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type ReadBlock, readVerifiedBlock } from './block.ts'
import { type CID, parseContentCid } from './cid.ts'
import { carMediaType, rawMediaType } from './media-types.ts'
import { dagBudget } from './walk.ts'
import { writeCar } from './write-car.ts'

export interface ContentDeps {
  readonly blockstore: Pick<Blockstore, 'get' | 'has'>
  readonly log: Log
  /** Content that must not be given out (IPIP-383). */
  readonly isDenied: (cid: CID) => boolean
}

/**
 * Answers `GET` and `HEAD /ipfs/<cid>?format=raw|car` by the trustless gateway specification, from this store only:
 * nothing is fetched for strangers. Bytes are hashed before they leave, and no browser will show them.
 *
 * @throws ProtocolError, among them `cid_not_found` and, for a rotten block, `cid_mismatch`
 */
export async function answerContent(
  { blockstore, log, isDenied }: ContentDeps,
  context: Context,
): Promise<Response> {
  const request = context.req
  const format = parseFormat(request.query('format'), request.header('accept') ?? '')
  if (request.param('cid') === probeCid) return answerProbe()
  const cid = parseContentCid(request.param('cid'))
  const readBlock: ReadBlock = (block, signal) => {
    if (isDenied(block)) throw contentBlocked(block)
    return readVerifiedBlock(blockstore, block, signal)
  }
  if (format === 'car') checkCarParameters(request.query())
  const etag = format === 'raw' ? `"${cid}.raw"` : `W/"${cid}.car"`
  const headers = contentHeaders({ cid, format, etag, path: request.path })
  if (isDenied(cid)) throw contentBlocked(cid)
  await checkPresence(blockstore, cid, request.header('cache-control') ?? '')
  if (matchesEtag(request.header('if-none-match'), etag)) return new Response(null, { status: 304, headers })
  const answer = format === 'raw' ? answerRaw : answerCar
  const breakOff = breakOffOf(context, log.with({ root: cid.toString() }))
  return answer({ cid, readBlock, headers, breakOff, isHead: request.method === 'HEAD' }, request.raw.signal)
}

interface Answering {
  readonly cid: CID
  readonly readBlock: ReadBlock
  readonly headers: Readonly<Record<string, string>>
  readonly breakOff: (error: unknown) => void
  readonly isHead: boolean
}

async function answerRaw(
  { cid, readBlock, headers, isHead }: Answering,
  signal: AbortSignal,
): Promise<Response> {
  const bytes = await readBlock(cid, signal)
  return new Response(isHead ? null : Buffer.from(bytes), {
    headers: { ...headers, 'content-length': String(bytes.byteLength) },
  })
}

async function answerCar(
  { cid, readBlock, headers, breakOff, isHead }: Answering,
  signal: AbortSignal,
): Promise<Response> {
  // Read ahead of the head, so that a rotten root is an error and not half a CAR.
  await readBlock(cid, signal)
  if (isHead) return new Response(null, { headers })
  const car = writeCar(readBlock, cid, dagBudget(limits.carBytesMax), signal)
  return new Response(ReadableStream.from(untilFailure(car, breakOff)), { headers })
}

async function* untilFailure(
  car: AsyncIterable<Uint8Array>,
  breakOff: Answering['breakOff'],
): AsyncGenerator<Uint8Array> {
  try {
    yield* car
  } catch (error) {
    breakOff(error)
  }
}

/**
 * Breaks the connection where a CAR fails in the middle: a client must not take half of it for the whole. Under Node the
 * response is destroyed here and the failure goes to our log; left to `@hono/node-server`, it would be printed, and its
 * text written to a response that has begun.
 *
 * @throws the error, where there is no Node response to destroy
 */
function breakOffOf(context: Context, log: Log): Answering['breakOff'] {
  const { outgoing } = (context.env ?? {}) as { outgoing?: Writable }
  return (error) => {
    const { code, details } = toProtocolError(error)
    if (!context.req.raw.signal.aborted) log.error('car_broken_off', { code, ...details })
    if (!outgoing) throw error
    outgoing.destroy()
  }
}

type ContentFormat = 'raw' | 'car'

/** The query beats the `Accept` header (IPIP-523). */
function parseFormat(format: string | undefined, accept: string): ContentFormat {
  if (format === 'raw' || format === 'car') return format
  const types = accept.split(',').map((type) => type.split(';')[0]?.trim())
  if (format === undefined && types.includes(rawMediaType)) return 'raw'
  if (format === undefined && types.includes(carMediaType)) return 'car'
  const code = format === undefined ? 'bad_request' : 'format_not_supported'
  throw new ProtocolError(code, 'This keeper gives out verifiable bytes only.', {
    hint: 'Add ?format=raw for one block or ?format=car for all of them.',
  })
}

/** Only what whoever asks may rely on: the whole graph of a root, depth first, each block once. */
function checkCarParameters(query: Readonly<Record<string, string>>): void {
  const isServed =
    (query['car-version'] ?? '1') === '1' &&
    ['dfs', 'unk'].includes(query['car-order'] ?? 'dfs') &&
    ['n', 'y'].includes(query['car-dups'] ?? 'n') &&
    (query['dag-scope'] ?? 'all') === 'all' &&
    query['entity-bytes'] === undefined
  if (isServed) return
  throw new ProtocolError('bad_request', 'This keeper gives out whole CARs of version 1 only.', {
    hint: 'Leave the parameters of the CAR away; they stand for version 1, order=dfs, dups=n, dag-scope=all.',
  })
}

async function checkPresence(
  blockstore: ContentDeps['blockstore'],
  cid: CID,
  cacheControl: string,
): Promise<void> {
  if (await blockstore.has(cid)) return
  const isCacheOnly = cacheControl.includes('only-if-cached')
  throw new ProtocolError(
    isCacheOnly ? 'cid_not_cached' : 'cid_not_found',
    `This keeper does not have ${cid}.`,
    {
      hint: 'Ask another keeper, or upload the content here.',
      details: { cid: cid.toString() },
    },
  )
}

function contentHeaders(facts: {
  cid: CID
  format: ContentFormat
  etag: string
  path: string
}): Record<string, string> {
  const { cid, format, etag, path } = facts
  return {
    'content-type': format === 'raw' ? rawMediaType : `${carMediaType}; version=1; order=dfs; dups=n`,
    'content-disposition': `attachment; filename="${cid}.${format === 'raw' ? 'bin' : 'car'}"`,
    'cache-control': 'public, max-age=29030400, immutable',
    'accept-ranges': 'none',
    'x-ipfs-path': path,
    'x-ipfs-roots': cid.toString(),
    vary: 'accept',
    etag,
  }
}

function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  const weak = (tag: string) => tag.trim().replace(/^W\//, '')
  return (ifNoneMatch ?? '').split(',').some((tag) => tag.trim() === '*' || weak(tag) === weak(etag))
}

/** The identity CID of nothing, which clients ask for to see whether a gateway is one. */
const probeCid = 'bafkqaaa'

function answerProbe(): Response {
  return new Response('', { headers: { 'content-type': rawMediaType } })
}

function contentBlocked(cid: CID): ProtocolError {
  return new ProtocolError('content_blocked', `This keeper does not give out ${cid}.`, {
    hint: 'Ask its operator why.',
    details: { cid: cid.toString() },
  })
}
