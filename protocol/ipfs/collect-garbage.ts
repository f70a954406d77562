import type { Blockstore } from 'interface-blockstore'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { base64url } from '../base/bytes.ts'
import type { Log } from '../base/log.ts'
import { isProtocolError } from '../errors.ts'
import { linksOf, readVerifiedBlock } from './block.ts'
import { blockCodec } from './cid.ts'
import type { KeeperPins } from './keeper-pins.ts'

export interface CollectDeps {
  readonly blockstore: Blockstore
  readonly pins: KeeperPins
  readonly log: Log
}

/**
 * Deletes blocks that no pin reaches and that none has reached for `graceMs`. A block that is wanted again while this
 * runs leaves the list of candidates in one synchronous step, so it is either kept or gone before it is written anew.
 *
 * @returns how many blocks were deleted
 */
export async function collectGarbage(
  { blockstore, pins, log }: CollectDeps,
  { nowMs, graceMs }: { nowMs: number; graceMs: number },
  signal: AbortSignal,
): Promise<number> {
  pins.deleteExpired(nowMs)
  const marked = await markPinned({ blockstore, pins, log }, signal)
  const unpinned: CID[] = []
  for await (const { cid } of blockstore.getAll()) {
    signal.throwIfAborted()
    if (!marked.has(keyOf(cid))) unpinned.push(cid)
  }
  pins.noteUnpinned(unpinned, nowMs)
  let deleted = 0
  for (const multihash of pins.listUnpinned(nowMs - graceMs)) {
    signal.throwIfAborted()
    if (!pins.forgetUnpinned(multihash)) continue
    await blockstore.delete(CID.createV1(blockCodec.raw, Digest.decode(multihash)))
    deleted += 1
  }
  log.info('garbage_collected', { deleted, candidates: unpinned.length })
  return deleted
}

/** Walks all pins. Leaves are not read: that a node links them is enough. */
async function markPinned({ blockstore, pins, log }: CollectDeps, signal: AbortSignal): Promise<Set<string>> {
  const marked = new Set<string>()
  const walked = new Set<string>()
  const waiting = pins.list().map(({ root }) => root)
  for (let cid = waiting.pop(); cid; cid = waiting.pop()) {
    marked.add(keyOf(cid))
    if (cid.code === blockCodec.raw || walked.has(cid.toString())) continue
    walked.add(cid.toString())
    try {
      waiting.push(...linksOf({ cid, bytes: await readVerifiedBlock(blockstore, cid, signal) }))
    } catch (error) {
      if (!isProtocolError(error)) throw error
      log.warn('pinned_block_lost', { cid: cid.toString(), code: error.code })
    }
  }
  return marked
}

function keyOf(cid: CID): string {
  return base64url.encode(cid.multihash.bytes)
}
