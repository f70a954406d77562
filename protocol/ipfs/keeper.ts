import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Hono, type MiddlewareHandler } from 'hono'
import type { Blockstore } from 'interface-blockstore'
import type { Address } from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ProtocolError, toProtocolError } from '../errors.ts'
import { problemResponse } from '../http/problem-response.ts'
import { limits } from '../limits.ts'
import type { Market } from '../typed-data.ts'
import { type ReadBlock, readVerifiedBlock } from './block.ts'
import type { CID } from './cid.ts'
import { collectGarbage } from './collect-garbage.ts'
import { storeFile } from './import-file.ts'
import { answerContent } from './keeper-content.ts'
import { type KeeperPins, openKeeperPins, type Pin } from './keeper-pins.ts'
import { takeUpload, type UploadDeps } from './keeper-upload.ts'
import { createUploadSlots } from './upload-slots.ts'
import { dagBudget, walkDag } from './walk.ts'

/** Keeps content for its owners, and gives it to anybody who names it by its CID. */
export interface Keeper extends AsyncDisposable {
  /** `GET|HEAD /ipfs/<cid>?format=raw|car` and `POST /ipfs?root=<cid>`, to be mounted at the root of a server. */
  routes(): Hono
  /** Whether every block under `root` is here and whole. */
  has(root: CID, signal: AbortSignal): Promise<boolean>
  /** Imports a file and pins it. */
  put(bytes: Uint8Array, pin: PinTerms, signal: AbortSignal): Promise<CID>
  /** Pins what is in the store already. @throws ProtocolError `cid_not_found`, `cid_mismatch` where it is not whole */
  pin(root: CID, pin: PinTerms, signal: AbortSignal): Promise<void>
  unpin(root: CID, owner: string): void
  readonly pins: readonly Pin[]
  /** Deletes what nobody has pinned for `limits.keeperGraceMs`. @returns how many blocks */
  collectGarbage(signal: AbortSignal): Promise<number>
}

export interface PinTerms {
  /** An account's address, or a word for the operator. */
  readonly owner: string
  readonly expiresAtMs: number
}

export interface KeeperDeps {
  /** As `openBlockstore` gives it; a Helia node and a content source may share it. */
  readonly blockstore: Blockstore
  readonly clock: Clock
  readonly log: Log
  /** Asked after the signature was checked; everybody may upload if absent. */
  readonly mayUpload?: (owner: Address) => Promise<boolean>
  /** Asked for every block that would leave; nothing is denied if absent. */
  readonly isDenied?: (cid: CID) => boolean
}

export interface KeeperOptions {
  /** Bookkeeping and uploads that are under way. One process at a time. */
  readonly dir: string
  /** The keeper's public origin now, such as `https://gateway.example`: uploads are signed for it. */
  readonly audience: () => string
  readonly market: Market
  readonly ownerBytesMax?: number
  readonly totalBytesMax?: number
  /** How long an upload is kept. */
  readonly pinAgeMs?: number
}

/** Opens a keeper over a store. It owns its bookkeeping, not the store. */
export async function createKeeper(deps: KeeperDeps, options: KeeperOptions): Promise<Keeper> {
  const { blockstore, clock, log } = deps
  const stagingDir = join(options.dir, 'staging')
  // What a crash left of uploads.
  await rm(stagingDir, { recursive: true, force: true })
  await mkdir(stagingDir, { recursive: true })
  const pins = openKeeperPins(options.dir)
  const wanted = keepFromCollection(blockstore, pins)
  const { ownerBytesMax = limits.keeperOwnerBytesMax, totalBytesMax = limits.keeperTotalBytesMax } = options
  const app = createRoutes({
    isDenied: () => false,
    mayUpload: async () => true,
    pinAgeMs: limits.keeperPinAgeMsDefault,
    ...options,
    ...deps,
    blockstore: wanted,
    kept: blockstore,
    pins,
    slots: createUploadSlots(pins, { ownerBytesMax, totalBytesMax }),
    stagingDir,
  })
  const pin = async (root: CID, { owner, expiresAtMs }: PinTerms, signal: AbortSignal) => {
    pins.add({ root, owner, bytes: await measure(wanted, root, signal), expiresAtMs })
  }
  return {
    routes: () => app,
    async has(root, signal) {
      return measure(blockstore, root, signal).then(
        () => true,
        (error) => {
          if (['cid_not_found', 'cid_mismatch'].includes(toProtocolError(error).code)) return false
          throw error
        },
      )
    },
    async put(bytes, terms, signal) {
      const root = await storeFile(wanted, bytes, signal)
      await pin(root, terms, signal)
      return root
    },
    pin,
    unpin: (root, owner) => pins.remove(root, owner),
    get pins() {
      return pins.list()
    },
    collectGarbage: (signal) =>
      collectGarbage(
        { blockstore, pins, log },
        { nowMs: clock.nowMs(), graceMs: limits.keeperGraceMs },
        signal,
      ),
    [Symbol.asyncDispose]: async () => pins[Symbol.dispose](),
  }
}

/** @param deps - `kept` is the store as it is, for reading. */
function createRoutes(deps: UploadDeps & { readonly kept: Blockstore }): Hono {
  const { kept, log, isDenied } = deps
  const app = new Hono()
  app.use('/ipfs/*', openToBrowsers)
  app.get('/ipfs/:cid', (context) => answerContent({ blockstore: kept, log, isDenied }, context))
  app.post('/ipfs', async (context) => context.json(await takeUpload(deps, context), 201))
  app.get('/ipfs/:cid/*', () => {
    throw new ProtocolError('bad_request', 'This keeper serves whole CIDs, not paths below them.', {
      hint: 'GET /ipfs/<cid>?format=raw or ?format=car.',
    })
  })
  const refuseMethod = (): never => {
    throw new ProtocolError('method_not_allowed', 'There is nothing here for this method.', {
      hint: 'GET or HEAD /ipfs/<cid>?format=raw|car, POST /ipfs?root=<cid>.',
    })
  }
  app.all('/ipfs', refuseMethod)
  app.all('/ipfs/*', refuseMethod)
  app.onError((thrown, context) => {
    const { code } = toProtocolError(thrown)
    if (code === 'internal' || code === 'cid_mismatch') {
      log.error('keeper_failed', { path: context.req.path, code, error: String(thrown) })
    }
    return problemResponse(thrown)
  })
  return app
}

/** Pages of any origin may read and verify content; none may have it rendered under this one. */
const openToBrowsers: MiddlewareHandler = async (context, next) => {
  await next()
  context.header('x-content-type-options', 'nosniff')
  context.header('content-security-policy', "default-src 'none'; sandbox")
  context.header('access-control-allow-origin', '*')
  context.header('access-control-expose-headers', 'content-length, etag, x-ipfs-path, x-ipfs-roots')
}

/** The same store, but what is read or written through it is no candidate for collection any more. */
function keepFromCollection(blockstore: Blockstore, pins: KeeperPins): Pick<Blockstore, 'put' | 'get'> {
  return {
    put(cid, bytes) {
      pins.forgetUnpinned(cid.multihash.bytes)
      return blockstore.put(cid, bytes)
    },
    get(cid) {
      pins.forgetUnpinned(cid.multihash.bytes)
      return blockstore.get(cid)
    },
  }
}

/** Reads and hashes everything under a root. @returns the bytes of its blocks */
async function measure(blockstore: Pick<Blockstore, 'get'>, root: CID, signal: AbortSignal): Promise<number> {
  const readBlock: ReadBlock = (cid, s) => readVerifiedBlock(blockstore, cid, s)
  let bytes = 0
  for await (const block of walkDag(readBlock, root, dagBudget(limits.carBytesMax), signal)) {
    bytes += block.bytes.byteLength
  }
  return bytes
}
