import type { Blockstore } from 'interface-blockstore'
import { isProtocolError, ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { type Block, type ReadBlock, readVerifiedBlock } from './block.ts'
import type { CID } from './cid.ts'
import { createPutQueue } from './put-queue.ts'
import { type CarFault, readCar } from './read-car.ts'
import { type DagBudget, walkDag } from './walk.ts'

/** A whole graph, put aside. */
export interface StagedDag {
  /** Sum of all different blocks under the root. */
  readonly bytes: number
  readonly blocks: number
  /** Moves what the root reaches into the store. */
  commit(signal: AbortSignal): Promise<void>
}

export interface StageOptions {
  readonly root: CID
  /** Empty, and of this upload alone. */
  readonly stage: Pick<Blockstore, 'put' | 'get'>
  /** Where `commit` writes. Blocks that it has already need not be sent again. */
  readonly blockstore: Pick<Blockstore, 'put' | 'get'>
  readonly budget: DagBudget
}

/**
 * Takes an uploaded CAR in any order: every block is hashed and put aside, then the graph is walked from the root. Until
 * `commit`, the store has no new block, and then only those that the root reaches.
 *
 * @throws ProtocolError `upload_invalid`, `content_too_large`
 */
export async function stageCar(
  chunks: AsyncIterable<Uint8Array>,
  { root, stage, blockstore, budget }: StageOptions,
  signal: AbortSignal,
): Promise<StagedDag> {
  await putAside(chunks, { root, stage }, signal)
  const { readBlock, isStaged } = readStaged(stage, blockstore)
  const reached: Block['cid'][] = []
  let bytes = 0
  try {
    for await (const block of walkDag(readBlock, root, budget, signal)) {
      bytes += block.bytes.byteLength
      reached.push(block.cid)
    }
  } catch (cause) {
    throw refuseDag(root, cause)
  }
  const cids = reached.filter(isStaged)
  return { bytes, blocks: reached.length, commit: (s) => commit({ cids, readBlock, blockstore }, s) }
}

async function putAside(
  chunks: AsyncIterable<Uint8Array>,
  { root, stage }: Pick<StageOptions, 'root' | 'stage'>,
  signal: AbortSignal,
): Promise<void> {
  const refuse = (fault: CarFault, why: string, cause?: unknown) => refuseUpload(root, fault, why, cause)
  await using puts = createPutQueue(stage)
  let blocks = 0
  for await (const block of readCar(chunks, { bytesMax: limits.carBytesMax, refuse }, signal)) {
    blocks += 1
    if (blocks > limits.dagBlocksMax)
      throw refuse('too_large', `it has more than ${limits.dagBlocksMax} blocks`)
    await puts.add(block)
  }
  await puts.drain()
}

/** Reads from the stage, else from what is kept already. */
function readStaged(
  stage: StageOptions['stage'],
  blockstore: StageOptions['blockstore'],
): { readBlock: ReadBlock; isStaged: (cid: CID) => boolean } {
  const kept = new Set<string>()
  return {
    isStaged: (cid) => !kept.has(cid.toString()),
    async readBlock(cid, signal) {
      try {
        return await readVerifiedBlock(stage, cid, signal)
      } catch (error) {
        if (!isProtocolError(error) || error.code !== 'cid_not_found') throw error
      }
      const bytes = await readVerifiedBlock(blockstore, cid, signal)
      kept.add(cid.toString())
      return bytes
    },
  }
}

async function commit(
  {
    cids,
    readBlock,
    blockstore,
  }: { cids: readonly CID[]; readBlock: ReadBlock } & Pick<StageOptions, 'blockstore'>,
  signal: AbortSignal,
): Promise<void> {
  await using puts = createPutQueue(blockstore)
  for (const cid of cids) await puts.add({ cid, bytes: await readBlock(cid, signal) })
  await puts.drain()
}

function refuseDag(root: CID, cause: unknown): unknown {
  if (!isProtocolError(cause) || cause.code === 'content_too_large') return cause
  const isMissing = cause.code === 'cid_not_found' || cause.code === 'cid_mismatch'
  const why = isMissing ? `the block ${cause.details['cid']} is missing` : 'it holds a node that is none'
  return refuseUpload(root, 'damaged', why, cause)
}

function refuseUpload(root: CID, fault: CarFault, why: string, cause?: unknown): ProtocolError {
  if (fault === 'too_large') {
    return new ProtocolError('content_too_large', `The upload of ${root} is refused: ${why}.`, {
      hint: 'Make the content smaller.',
      details: { cid: root.toString() },
      cause,
    })
  }
  return new ProtocolError('upload_invalid', `The upload of ${root} is refused: ${why}.`, {
    hint: 'Send a CAR (version 1) that holds every block under the root.',
    details: { cid: root.toString() },
    cause,
  })
}
