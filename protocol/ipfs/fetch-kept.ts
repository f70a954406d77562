import { MemoryBlockstore } from 'blockstore-core'
import type { CID } from './cid.ts'
import { fetchFromKeeper } from './http-source.ts'
import { readVerifiedFile } from './read-file.ts'
import { dagBudget } from './walk.ts'

/**
 * Fetches a file from one keeper into memory, block by block verified.
 *
 * @throws ProtocolError `cid_not_found`, `cid_mismatch`, `content_unreachable`, `content_too_large`
 */
export async function fetchKept(
  { keeperUrl, root, bytesMax }: { keeperUrl: URL; root: CID; bytesMax: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const blockstore = new MemoryBlockstore()
  await fetchFromKeeper(keeperUrl, { cid: root, blockstore, budget: dagBudget(bytesMax) }, signal)
  return readVerifiedFile(blockstore, root, { bytesMax }, signal)
}
