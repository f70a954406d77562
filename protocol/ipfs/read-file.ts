import * as dagPb from '@ipld/dag-pb'
import type { Blockstore } from 'interface-blockstore'
import { UnixFS } from 'ipfs-unixfs'
import { type Block, contentTooLarge, nodeInvalid, type ReadBlock, readVerifiedBlock } from './block.ts'
import { blockCodec, type CID, toContentCid } from './cid.ts'
import { createDagCounter, type DagCounter, dagBudget } from './walk.ts'

/**
 * Reads a whole UnixFS file; every block was hashed on the way. Not ipfs-unixfs-exporter: a bad block below depth 2
 * makes that raise an unhandled rejection, which ends the process.
 *
 * @throws ProtocolError `cid_not_found` for a missing block, `cid_mismatch` for a rotten one, `content_too_large` past
 *   `bytesMax` or the budgets, `program_invalid` for what is no file
 */
export async function readVerifiedFile(
  blockstore: Pick<Blockstore, 'get'>,
  cid: CID,
  { bytesMax }: { bytesMax: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  return readFileFrom((c, s) => readVerifiedBlock(blockstore, c, s), cid, { bytesMax }, signal)
}

/** The same over anything that gives verified blocks. */
export async function readFileFrom(
  readBlock: ReadBlock,
  cid: CID,
  { bytesMax }: { bytesMax: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const count = createDagCounter(cid, dagBudget(bytesMax))
  const bytes = await readBlock(cid, signal)
  const root = parseFilePiece({ cid, bytes })
  if (root.size > bytesMax) throw contentTooLarge(cid, `${bytesMax} bytes`)
  count.block({ cid, bytes }, 0)
  const reading: Reading = {
    readBlock,
    count,
    content: new Uint8Array(root.size),
    written: new Map(),
    signal,
  }
  await writePiece(reading, { cid, piece: root, offset: 0, depth: 0 })
  return reading.content
}

interface Reading {
  readonly readBlock: ReadBlock
  readonly count: DagCounter
  readonly content: Uint8Array
  /** Where each block's bytes already stand: a block that is linked again is copied, not walked again. */
  readonly written: Map<string, { readonly offset: number; readonly size: number }>
  readonly signal: AbortSignal
}

interface Place {
  readonly cid: CID
  readonly piece: FilePiece
  readonly offset: number
  readonly depth: number
}

async function writePiece(reading: Reading, { cid, piece, offset, depth }: Place): Promise<void> {
  if (piece.kind === 'leaf') reading.content.set(piece.bytes, offset)
  else {
    reading.count.edges(piece.children.length)
    let childOffset = offset
    for (const child of piece.children) {
      await writeChild(reading, { ...child, parent: cid, offset: childOffset, depth: depth + 1 })
      childOffset += child.size
    }
  }
  reading.written.set(cid.toString(), { offset, size: piece.size })
}

async function writeChild(
  reading: Reading,
  child: { cid: CID; size: number; parent: CID; offset: number; depth: number },
): Promise<void> {
  const { cid, size, offset, depth } = child
  const earlier = reading.written.get(cid.toString())
  if (earlier) {
    if (earlier.size !== size) throw nodeInvalid(child.parent, 'it lies about the size of a piece')
    reading.content.copyWithin(offset, earlier.offset, earlier.offset + size)
    return
  }
  const bytes = await reading.readBlock(cid, reading.signal)
  reading.count.block({ cid, bytes }, depth)
  const piece = parseFilePiece({ cid, bytes })
  if (piece.size !== size) throw nodeInvalid(child.parent, 'it lies about the size of a piece')
  await writePiece(reading, { cid, piece, offset, depth })
}

type FilePiece =
  | { readonly kind: 'leaf'; readonly size: number; readonly bytes: Uint8Array }
  | {
      readonly kind: 'node'
      readonly size: number
      readonly children: readonly { readonly cid: CID; readonly size: number }[]
    }

/** A piece of a file by UnixFS: bytes, or links whose claimed sizes add up. */
function parseFilePiece({ cid, bytes }: Block): FilePiece {
  if (cid.code === blockCodec.raw) return { kind: 'leaf', size: bytes.byteLength, bytes }
  const { data, links } = parseFileNode({ cid, bytes })
  if (links.length === 0) {
    if (data.blockSizes.length > 0) throw nodeInvalid(cid, 'it claims pieces that it does not link')
    const leaf = data.data ?? new Uint8Array()
    return { kind: 'leaf', size: leaf.byteLength, bytes: leaf }
  }
  if (data.data?.byteLength) throw nodeInvalid(cid, 'it has bytes of its own beside its links')
  if (data.blockSizes.length !== links.length)
    throw nodeInvalid(cid, 'it does not give the size of each piece')
  const children = links.map((link, index) => ({ cid: link, size: toSize(cid, data.blockSizes[index]) }))
  const size = children.reduce((sum, child) => sum + child.size, 0)
  return { kind: 'node', size, children }
}

function parseFileNode({ cid, bytes }: Block): { data: UnixFS; links: readonly CID[] } {
  let node: { data: UnixFS; links: readonly CID[] }
  try {
    const { Data, Links } = dagPb.decode(bytes)
    node = { data: UnixFS.unmarshal(Data ?? new Uint8Array()), links: Links.map((l) => toContentCid(l.Hash)) }
  } catch (cause) {
    throw nodeInvalid(cid, 'it is no UnixFS node', cause)
  }
  const { type } = node.data
  if (type !== 'file' && type !== 'raw') throw nodeInvalid(cid, `it is a ${type}, not a file`)
  return node
}

/** 64 GiB is more than any content here, and the sum of all links' sizes stays an exact number. */
const pieceSizeCap = 2n ** 36n

function toSize(cid: CID, size: bigint | undefined): number {
  if (size === undefined || size < 0n) throw nodeInvalid(cid, 'it gives a size that is no size')
  return Number(size > pieceSizeCap ? pieceSizeCap : size)
}
