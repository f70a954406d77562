import * as dagPb from '@ipld/dag-pb'
import type { Blockstore } from 'interface-blockstore'
import { readBounded } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { blockCodec, type CID, isBlockOf, toContentCid } from './cid.ts'

/** A block whose bytes were hashed and found to be what the CID names. */
export interface Block {
  readonly cid: CID
  readonly bytes: Uint8Array
}

/** Finds one block. What it gives is verified. @throws ProtocolError `cid_not_found`, `cid_mismatch` */
export type ReadBlock = (cid: CID, signal: AbortSignal) => Promise<Uint8Array>

/**
 * Reads one block and hashes it: a store does not, and disks do rot.
 *
 * @throws ProtocolError `cid_not_found`; `cid_mismatch` where the store holds other bytes
 */
export async function readVerifiedBlock(
  blockstore: Pick<Blockstore, 'get'>,
  cid: CID,
  signal: AbortSignal,
): Promise<Uint8Array> {
  signal.throwIfAborted()
  let bytes: Uint8Array | undefined
  try {
    // Without the signal: blockstore-fs would leave the file open. `offline`: Helia's store would ask the network.
    bytes = await readBounded(toAsync(blockstore.get(cid, { offline: true } as object)), limits.blockBytesMax)
  } catch (cause) {
    if (!isNotFound(cause)) throw cause
    throw blockNotFound(cid, cause)
  }
  signal.throwIfAborted()
  if (!bytes || !isBlockOf(cid, bytes)) throw blockMismatch(cid, 'The store')
  return bytes
}

/** The links of a block in order, each held to the rules of content CIDs. @throws ProtocolError `program_invalid` */
export function linksOf({ cid, bytes }: Block): readonly CID[] {
  if (cid.code !== blockCodec.dagPb) return []
  try {
    return dagPb.decode(bytes).Links.map((link) => toContentCid(link.Hash))
  } catch (cause) {
    throw nodeInvalid(cid, 'it is no dag-pb node of this network', cause)
  }
}

export function blockNotFound(cid: CID, cause?: unknown): ProtocolError {
  return new ProtocolError('cid_not_found', `Nobody who was asked has ${cid}.`, {
    hint: 'Check the CID, or upload the content to a keeper again.',
    details: { cid: cid.toString() },
    cause,
  })
}

/** @param source - Who gave other bytes, as the subject of a sentence. */
export function blockMismatch(cid: CID, source: string, cause?: unknown): ProtocolError {
  return new ProtocolError('cid_mismatch', `${source} gave bytes for ${cid} that have another hash.`, {
    hint: 'Ask again; if it stays, upload the content again or ask another keeper.',
    details: { cid: cid.toString() },
    cause,
  })
}

export function nodeInvalid(cid: CID, why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('program_invalid', `The content ${cid} cannot be used: ${why}.`, {
    hint: 'Import it as one file with the profile unixfs-v1-2025.',
    details: { cid: cid.toString() },
    cause,
  })
}

export function contentTooLarge(cid: CID, what: string): ProtocolError {
  return new ProtocolError('content_too_large', `The content ${cid} has more than ${what}.`, {
    hint: 'Make it smaller, or split it.',
    details: { cid: cid.toString() },
  })
}

async function* toAsync(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
  yield* chunks
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && error.name === 'NotFoundError'
}
