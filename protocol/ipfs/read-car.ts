import { CID } from 'multiformats/cid'
import type { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { Block } from './block.ts'
import { isBlockOf, toContentCid } from './cid.ts'

/** `cut_short` is how a lost connection looks; `damaged` is what no honest sender writes. */
export type CarFault = 'cut_short' | 'damaged' | 'too_large'

export interface CarReadOptions {
  /** Of the whole CAR. */
  readonly bytesMax: number
  /** The error for this reader's edge: an upload is refused with another code than a keeper's answer. */
  readonly refuse: (fault: CarFault, why: string, cause?: unknown) => ProtocolError
}

/**
 * Reads the blocks of a CAR (version 1) from outside, each hashed before it is given on. The roots in its header prove
 * nothing and are not looked at. At most one block and one chunk are held.
 *
 * @throws what `refuse` makes
 */
export async function* readCar(
  chunks: AsyncIterable<Uint8Array>,
  { bytesMax, refuse }: CarReadOptions,
  signal: AbortSignal,
): AsyncGenerator<Block> {
  const reader = createByteReader(chunks, { bytesMax, refuse })
  try {
    const headerBytes = await reader.readVarint(limits.carHeaderBytesMax)
    if (headerBytes === undefined) throw refuse('cut_short', 'it is empty')
    const header = await reader.read(headerBytes)
    // CBOR of the last entry of the header: "version": 1.
    if (!Buffer.from(header).includes('gversion\x01')) throw refuse('damaged', 'it is no CAR of version 1')
    for (;;) {
      signal.throwIfAborted()
      const sectionBytes = await reader.readVarint(limits.blockBytesMax + limits.cidBytesMax)
      if (sectionBytes === undefined) return
      yield parseSection(await reader.read(sectionBytes), refuse)
    }
  } finally {
    await reader.close()
  }
}

function parseSection(section: Uint8Array, refuse: CarReadOptions['refuse']): Block {
  let block: Block
  try {
    const [cid, bytes] = CID.decodeFirst(section)
    block = { cid: toContentCid(cid), bytes }
  } catch (cause) {
    throw refuse('damaged', 'it has a block without a CID of this network', cause)
  }
  const { cid, bytes } = block
  if (bytes.byteLength > limits.blockBytesMax) {
    throw refuse('damaged', `it has a block of more than ${limits.blockBytesMax} bytes`)
  }
  if (!isBlockOf(cid, bytes)) throw refuse('damaged', `the bytes for ${cid} have another hash`)
  return block
}

interface ByteReader {
  /** @returns exactly this many bytes; throws `cut_short` where the stream has fewer. */
  read(count: number): Promise<Uint8Array>
  /** @returns undefined at the end of the stream. */
  readVarint(valueMax: number): Promise<number | undefined>
  close(): Promise<void>
}

function createByteReader(
  chunks: AsyncIterable<Uint8Array>,
  { bytesMax, refuse }: CarReadOptions,
): ByteReader {
  const source = chunks[Symbol.asyncIterator]()
  let held: Uint8Array[] = []
  let heldBytes = 0
  let totalBytes = 0

  const fill = async (count: number): Promise<boolean> => {
    while (heldBytes < count) {
      const next = await source.next()
      if (next.done) return false
      totalBytes += next.value.byteLength
      if (totalBytes > bytesMax) throw refuse('too_large', `it has more than ${bytesMax} bytes`)
      held.push(next.value)
      heldBytes += next.value.byteLength
    }
    return true
  }
  const read = async (count: number): Promise<Uint8Array> => {
    if (!(await fill(count))) throw refuse('cut_short', 'it ends in the middle of a block')
    const all = held.length === 1 ? held[0]! : Buffer.concat(held, heldBytes)
    held = [all.subarray(count)]
    heldBytes -= count
    return all.subarray(0, count)
  }
  return {
    read,
    async readVarint(valueMax) {
      if (!(await fill(1))) return undefined
      let value = 0
      for (let scale = 1; ; scale *= 0x80) {
        const [byte = 0] = await read(1)
        value += (byte & 0x7f) * scale
        if (value > valueMax || scale > valueMax)
          throw refuse('damaged', 'it has a section that is too large')
        if (byte < 0x80) return value
      }
    },
    async close() {
      await source.return?.()
    },
  }
}
