import type { Block, ReadBlock } from './block.ts'
import type { CID } from './cid.ts'
import { type DagBudget, walkDag } from './walk.ts'

/**
 * Everything under `root` as a CAR (version 1), depth first, each block once. A block is read when the one before it
 * was taken, so a slow reader holds one block in memory.
 *
 * @throws ProtocolError whatever `readBlock` throws; `content_too_large` past the budget
 */
export async function* writeCar(
  readBlock: ReadBlock,
  root: CID,
  budget: DagBudget,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  yield encodeCarHeader(root)
  for await (const block of walkDag(readBlock, root, budget, signal)) yield encodeCarSection(block)
}

/** A CAR of blocks at hand, in their order. */
export function encodeCar(root: CID, blocks: readonly Block[]): Uint8Array {
  return Buffer.concat([encodeCarHeader(root), ...blocks.map(encodeCarSection)])
}

/** DAG-CBOR of `{ roots: [root], version: 1 }`: the same for all content CIDs but for their 36 bytes. */
export function encodeCarHeader(root: CID): Uint8Array {
  const header = Buffer.concat([
    Buffer.from('a265726f6f747381d82a582500', 'hex'),
    root.bytes,
    Buffer.from('6776657273696f6e01', 'hex'),
  ])
  return Buffer.concat([encodeVarint(header.byteLength), header])
}

function encodeCarSection({ cid, bytes }: Block): Uint8Array {
  return Buffer.concat([encodeVarint(cid.bytes.byteLength + bytes.byteLength), cid.bytes, bytes])
}

/** Unsigned LEB128. */
function encodeVarint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Uint8Array.from([...bytes, rest])
}
