import { limits } from '../limits.ts'
import { type Block, contentTooLarge, linksOf, nodeInvalid, type ReadBlock } from './block.ts'
import type { CID } from './cid.ts'

export interface DagBudget {
  readonly blocksMax: number
  readonly edgesMax: number
  readonly depthMax: number
  /** Of all different blocks together, so the overhead of the nodes counts, too. */
  readonly bytesMax: number
}

/** The budget for content of `bytesMax`: its nodes may take one block's worth on top. */
export function dagBudget(bytesMax: number): DagBudget {
  return {
    blocksMax: limits.dagBlocksMax,
    edgesMax: limits.dagEdgesMax,
    depthMax: limits.dagDepthMax,
    bytesMax: bytesMax + limits.blockBytesMax,
  }
}

/**
 * Every block under `root`, depth first, each once. A graph that links the same block a thousand times costs no more
 * than one that links it once: without that, 25 blocks can claim terabytes.
 *
 * @throws ProtocolError `content_too_large` past the budget, and whatever `readBlock` throws
 */
export async function* walkDag(
  readBlock: ReadBlock,
  root: CID,
  budget: DagBudget,
  signal: AbortSignal,
): AsyncGenerator<Block> {
  const seen = new Set<string>()
  const waiting: { cid: CID; depth: number }[] = [{ cid: root, depth: 0 }]
  const count = createDagCounter(root, budget)
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { cid, depth } = next
    if (seen.has(cid.toString())) continue
    seen.add(cid.toString())
    const block: Block = { cid, bytes: await readBlock(cid, signal) }
    count.block(block, depth)
    const links = linksOf(block)
    count.edges(links.length)
    yield block
    for (const link of links.toReversed()) waiting.push({ cid: link, depth: depth + 1 })
  }
}

export interface DagCounter {
  block(block: Block, depth: number): void
  edges(count: number): void
  readonly blocks: number
  readonly bytes: number
}

/** Holds a walk to its budget. @throws ProtocolError `content_too_large`, `program_invalid` for depth */
export function createDagCounter(root: CID, budget: DagBudget): DagCounter {
  let blocks = 0
  let edges = 0
  let bytes = 0
  return {
    block(block, depth) {
      blocks += 1
      bytes += block.bytes.byteLength
      if (depth > budget.depthMax) throw nodeInvalid(root, `it nests deeper than ${budget.depthMax}`)
      if (blocks > budget.blocksMax) throw contentTooLarge(root, `${budget.blocksMax} blocks`)
      if (bytes > budget.bytesMax) throw contentTooLarge(root, `${budget.bytesMax} bytes of blocks`)
    },
    edges(count) {
      edges += count
      if (edges > budget.edgesMax) throw contentTooLarge(root, `${budget.edgesMax} links`)
    },
    get blocks() {
      return blocks
    },
    get bytes() {
      return bytes
    },
  }
}
