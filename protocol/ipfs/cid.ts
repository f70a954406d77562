import * as dagPb from '@ipld/dag-pb'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { sha256 as sha256Hasher } from 'multiformats/hashes/sha2'
import { assert } from '../base/assert.ts'
import { sha256 } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'

export type { CID } from 'multiformats/cid'

/** What a block's bytes are: a piece of a file, or a node that links to more of them. */
export const blockCodec = { raw: raw.code, dagPb: dagPb.code } as const

/**
 * Reads a CID from outside. Only what this network stores is accepted: a raw block or a dag-pb node under SHA-256.
 * Version 0 is read and comes back as version 1, so that equal content has one spelling.
 *
 * @throws ProtocolError `cid_malformed`
 */
export function parseContentCid(text: unknown): CID {
  if (typeof text !== 'string' || text.length > limits.cidBytesMax) throw malformed(text)
  let cid: CID
  try {
    cid = CID.parse(text)
  } catch (cause) {
    throw malformed(text, cause)
  }
  return toContentCid(cid)
}

/**
 * Holds a decoded CID, of a link or of a CAR section, to the same rules.
 *
 * @throws ProtocolError `cid_malformed`
 */
export function toContentCid(cid: CID): CID {
  const isKnownCodec = cid.code === blockCodec.raw || cid.code === blockCodec.dagPb
  const { code, digest } = cid.multihash
  // A short digest names many blocks, and an identity "hash" proves nothing.
  if (!isKnownCodec || code !== sha256Hasher.code || digest.byteLength !== 32) throw malformed(cid.toString())
  return cid.version === 1 ? cid : cid.toV1()
}

/** The 32 bytes of SHA-256 in a content CID: for a raw one, what `sha256sum` prints. */
export function digestOfCid(cid: CID): Uint8Array {
  assert(cid.multihash.code === sha256Hasher.code, 'content is named by SHA-256')
  return cid.multihash.digest
}

/** The CID of the raw block with this SHA-256. */
export function cidOfRawDigest(digest: Uint8Array): CID {
  assert(digest.byteLength === 32, 'a SHA-256 has 32 bytes')
  return CID.createV1(blockCodec.raw, Digest.create(sha256Hasher.code, digest))
}

/** Whether these bytes are the block that `cid` names. */
export function isBlockOf(cid: CID, bytes: Uint8Array): boolean {
  return Buffer.compare(sha256(bytes), digestOfCid(cid)) === 0
}

function malformed(text: unknown, cause?: unknown): ProtocolError {
  const shown = typeof text === 'string' ? ` "${text.slice(0, 80).replace(/[^\x21-\x7e]/g, '?')}"` : ''
  return new ProtocolError('cid_malformed', `The CID${shown} is not one of this network.`, {
    hint: 'Use version 1, raw or dag-pb, with a SHA-256 of 32 bytes, such as bafkrei… or bafybei….',
    cause,
  })
}
