import { createHash, randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from 'hono'
import type { Blockstore } from 'interface-blockstore'
import type { Address } from 'viem'
import { toHex } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Market } from '../typed-data.ts'
import { readBody } from './body-stream.ts'
import { type CID, parseContentCid } from './cid.ts'
import type { KeeperPins } from './keeper-pins.ts'
import { carMediaType } from './media-types.ts'
import { openBlockstore } from './open-blockstore.ts'
import { stageCar } from './stage-car.ts'
import { findUploadFault, type Upload, verifyUpload } from './upload.ts'
import type { UploadSlots } from './upload-slots.ts'
import { dagBudget } from './walk.ts'

export interface UploadDeps {
  /** Writes through it must keep the blocks from being collected. */
  readonly blockstore: Pick<Blockstore, 'put' | 'get'>
  readonly pins: KeeperPins
  readonly slots: UploadSlots
  readonly clock: Clock
  readonly log: Log
  /** A hook for whoever asks more of owners than a signature, such as a balance. */
  readonly mayUpload: (owner: Address) => Promise<boolean>
  readonly isDenied: (cid: CID) => boolean
  readonly stagingDir: string
  readonly audience: () => string
  readonly market: Market
  readonly pinAgeMs: number
}

/** The answer to an upload. */
export interface UploadReceipt {
  readonly root: string
  readonly bytes: number
  readonly blocks: number
  readonly expiresAtMs: number
}

/**
 * Takes `POST /ipfs?root=<cid>` with a CAR. Everything that can be refused by the head is refused before the body is
 * read; nothing is kept before the whole body is there, is what was signed, and holds every block under the root.
 *
 * @throws ProtocolError
 */
export async function takeUpload(deps: UploadDeps, context: Context): Promise<UploadReceipt> {
  const { root, upload } = await admitUpload(deps, context)
  using slot = deps.slots.take(upload)
  if (!deps.pins.useNonce(upload, nowSeconds(deps))) throw refused('it was used before')
  const signal = AbortSignal.any([context.req.raw.signal, AbortSignal.timeout(limits.uploadTimeoutMs)])
  const body = readBody(context.req.raw.body, { stallTimeoutMs: limits.contentStallTimeoutMs }, signal)

  await using staging = await openStaging(deps.stagingDir)
  const budget = dagBudget(limits.carBytesMax)
  const staged = await stageCar(
    checkSigned(body, upload),
    { root, stage: staging.blockstore, blockstore: deps.blockstore, budget },
    signal,
  )
  // The graph may have more than was sent: blocks that were here already count against the owner, too.
  slot.grow(staged.bytes)
  await staged.commit(signal)
  const expiresAtMs = deps.clock.nowMs() + deps.pinAgeMs
  deps.pins.add({ root, owner: upload.owner, bytes: staged.bytes, expiresAtMs })
  deps.log.info('content_kept', { root: root.toString(), owner: upload.owner, bytes: staged.bytes })
  return { root: root.toString(), bytes: staged.bytes, blocks: staged.blocks, expiresAtMs }
}

async function admitUpload(deps: UploadDeps, context: Context): Promise<{ root: CID; upload: Upload }> {
  const request = context.req
  const root = parseContentCid(request.query('root'))
  const [mediaType] = (request.header('content-type') ?? '').split(';')
  if (mediaType?.trim().toLowerCase() !== carMediaType) {
    throw new ProtocolError('upload_invalid', `An upload is of the type ${carMediaType}.`, {
      hint: `Send a CAR with "Content-Type: ${carMediaType}".`,
    })
  }
  const upload = await verifyUpload(request.header('authorization'), deps.market)
  const facts = { root: root.toString(), keeper: deps.audience(), nowSeconds: nowSeconds(deps) }
  const fault = findUploadFault(upload, facts)
  if (fault) throw refused(fault)
  const contentLength = request.header('content-length')
  if (contentLength !== undefined && contentLength !== String(upload.carBytes)) throw notAsSigned('size')
  if (deps.isDenied(root) || !(await deps.mayUpload(upload.owner)))
    throw refused('this keeper does not take it')
  return { root, upload }
}

/** Passes the body on, and fails at its end, before anything is kept, if it is not what the owner signed. */
async function* checkSigned(body: AsyncIterable<Uint8Array>, upload: Upload): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.byteLength
    if (bytes > upload.carBytes) throw notAsSigned('size')
    hash.update(chunk)
    yield chunk
  }
  if (bytes !== upload.carBytes) throw notAsSigned('size')
  if (toHex(hash.digest()) !== upload.carDigest) throw notAsSigned('hash')
}

async function openStaging(stagingDir: string): Promise<AsyncDisposable & { blockstore: Blockstore }> {
  const dir = join(stagingDir, randomUUID())
  return {
    blockstore: await openBlockstore(dir),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  }
}

function nowSeconds({ clock }: UploadDeps): number {
  return Math.floor(clock.nowMs() / 1000)
}

function refused(why: string): ProtocolError {
  return new ProtocolError('upload_refused', `The upload is refused: ${why}.`, {
    hint: 'Sign a new upload for this keeper, and send it at once.',
  })
}

function notAsSigned(what: string): ProtocolError {
  return new ProtocolError('upload_invalid', `The body has another ${what} than the owner signed.`, {
    hint: 'Send the CAR that was signed, or sign again.',
  })
}
