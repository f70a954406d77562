import type { Blockstore } from 'interface-blockstore'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Block, blockMismatch, linksOf } from './block.ts'
import type { CID } from './cid.ts'
import { createPutQueue } from './put-queue.ts'
import { type CarFault, readCar } from './read-car.ts'
import { createDagCounter, type DagBudget } from './walk.ts'

/**
 * Takes the CAR that a keeper answers into a store: only blocks that hash to their CID and that something above them
 * links, parents first, as `order=dfs` gives them. A block that was not asked for ends it.
 *
 * @throws ProtocolError `cid_mismatch` for a lie, `content_unreachable` where blocks are missing at the end,
 *   `content_too_large` past the budget, `program_invalid` for a node that is none
 */
export async function receiveCar(
  chunks: AsyncIterable<Uint8Array>,
  { root, blockstore, budget }: { root: CID; blockstore: Pick<Blockstore, 'put'>; budget: DagBudget },
  signal: AbortSignal,
): Promise<void> {
  const wanted = createWantedBlocks(root, budget)
  await using puts = createPutQueue(blockstore)
  const bytesMax = budget.bytesMax + budget.blocksMax * limits.cidBytesMax
  const refuse = (fault: CarFault, why: string, cause?: unknown) => refuseAnswer(root, fault, why, cause)
  for await (const block of readCar(chunks, { bytesMax, refuse }, signal)) {
    if (!wanted.take(block)) continue
    await puts.add(block)
    if (wanted.size === 0) break
  }
  await puts.drain()
  if (wanted.size > 0) throw refuseAnswer(root, 'cut_short', `${wanted.size} blocks are missing`)
}

interface WantedBlocks {
  readonly size: number
  /** Takes a verified block off the list and puts its links on. @returns false for one that was there before. */
  take(block: Block): boolean
}

function createWantedBlocks(root: CID, budget: DagBudget): WantedBlocks {
  const depths = new Map<string, number>([[root.toString(), 0]])
  const taken = new Set<string>()
  const count = createDagCounter(root, budget)
  return {
    get size() {
      return depths.size
    },
    take(block) {
      const key = block.cid.toString()
      if (taken.has(key)) return false
      const depth = depths.get(key)
      if (depth === undefined) throw refuseAnswer(root, 'damaged', `it has ${key}, which nothing links`)
      depths.delete(key)
      taken.add(key)
      count.block(block, depth)
      const links = linksOf(block)
      count.edges(links.length)
      for (const link of links) {
        const linkKey = link.toString()
        if (!taken.has(linkKey) && !depths.has(linkKey)) depths.set(linkKey, depth + 1)
      }
      return true
    },
  }
}

/** Too many bytes are a lie as well: honest ones would have been counted as blocks of the root, and refused there. */
function refuseAnswer(root: CID, fault: CarFault, why: string, cause?: unknown): ProtocolError {
  if (fault !== 'cut_short') return blockMismatch(root, `A CAR that cannot be trusted (${why})`, cause)
  return new ProtocolError('content_unreachable', `A CAR for ${root} cannot be used: ${why}.`, {
    hint: 'Ask again, or ask another keeper.',
    details: { cid: root.toString() },
    cause,
  })
}
