import * as dagPb from '@ipld/dag-pb'
import { UnixFS, type UnixFSType } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { sha256 } from '../../protocol/base/bytes.ts'
import type { Block } from '../../protocol/ipfs/block.ts'
import { blockCodec } from '../../protocol/ipfs/cid.ts'

/** Builds blocks that are well hashed, whatever nonsense they hold. */

export function rawBlock(bytes: Uint8Array): Block {
  return { cid: cidOf(bytes, blockCodec.raw), bytes }
}

/** A dag-pb block with these very bytes. */
export function nodeBlock(bytes: Uint8Array): Block {
  return { cid: cidOf(bytes, blockCodec.dagPb), bytes }
}

export interface NodeLink {
  readonly cid: CID
  /** What the node claims that the link's piece has. */
  readonly size: bigint
  readonly name?: string
}

/** A UnixFS node; `sizes` replaces the claims of the links. */
export function fileNode(
  links: readonly NodeLink[],
  facts: { type?: UnixFSType; data?: Uint8Array; sizes?: readonly bigint[] } = {},
): Block {
  const unixfs = new UnixFS({
    type: facts.type ?? 'file',
    blockSizes: [...(facts.sizes ?? links.map(({ size }) => size))],
    ...(facts.data ? { data: facts.data } : {}),
  })
  const Links = links.map(({ cid, name = '' }) => ({ Name: name, Hash: cid, Tsize: 1 }))
  return nodeBlock(dagPb.encode({ Data: unixfs.marshal(), Links }))
}

/** A chain of nodes over `leaf`, each linking the one below `width` times. The first block is the root. */
export function tower(leaf: Block, { height, width }: { height: number; width: number }): readonly Block[] {
  const blocks = [leaf]
  let size = BigInt(leaf.bytes.byteLength)
  for (let level = 0; level < height; level += 1) {
    const below = blocks[0]!
    blocks.unshift(fileNode(Array.from({ length: width }, () => ({ cid: below.cid, size }))))
    size *= BigInt(width)
  }
  return blocks
}

function cidOf(bytes: Uint8Array, codec: number): CID {
  return CID.createV1(codec, Digest.create(0x12, sha256(bytes)))
}
