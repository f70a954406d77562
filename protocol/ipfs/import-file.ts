import type { Blockstore } from 'interface-blockstore'
import { importBytes } from 'ipfs-unixfs-importer'
import { assert } from '../base/assert.ts'
import type { Block } from './block.ts'
import { type CID, toContentCid } from './cid.ts'

export interface ImportedFile {
  readonly cid: CID
  /** Every different block of the file, the root last. */
  readonly blocks: readonly Block[]
}

/**
 * Cuts a file into blocks by the profile `unixfs-v1-2025` (IPIP-499): the same bytes give the same CID on any machine,
 * and in any implementation. A file of at most 1 MiB is one raw block, so its CID holds what `sha256sum` prints.
 */
export async function importFile(bytes: Uint8Array): Promise<ImportedFile> {
  const blocks = new Map<string, Block>()
  const cid = await importInto(bytes, async (block) => {
    blocks.set(block.cid.toString(), block)
  })
  const root = blocks.get(cid.toString())
  assert(root, 'the importer gives the root to the store')
  return { cid, blocks: [...[...blocks.values()].filter((block) => block !== root), root] }
}

/** The CID that `importFile` gives, without keeping the blocks. Needs no network. */
export async function cidOfFile(bytes: Uint8Array): Promise<CID> {
  return importInto(bytes, async () => {})
}

/** Imports a file into a store. @returns its CID */
export async function storeFile(
  blockstore: Pick<Blockstore, 'put'>,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<CID> {
  return importInto(bytes, async (block) => {
    signal.throwIfAborted()
    await blockstore.put(block.cid, block.bytes)
  })
}

/** Many puts run at once: all of them have ended when this does, so none fails behind the caller's back. */
async function importInto(bytes: Uint8Array, put: (block: Block) => Promise<void>): Promise<CID> {
  const failures: unknown[] = []
  const store: Pick<Blockstore, 'put'> = {
    async put(cid, content) {
      assert(content instanceof Uint8Array, 'the importer writes whole blocks')
      await put({ cid, bytes: content }).catch((error) => failures.push(error))
      return cid
    },
  }
  // The importer writes into the options that it is given: they must be fresh for every file.
  const { cid } = await importBytes(bytes, store, { profile: 'unixfs-v1-2025' })
  if (failures.length > 0) throw failures[0]
  return toContentCid(cid)
}
