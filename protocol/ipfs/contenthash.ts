import { CID } from 'multiformats/cid'
import { bytesToHex, concatBytes, type Hex } from 'viem'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { toContentCid } from './cid.ts'

/** The multicodec `ipfs-ns`, as a varint: what follows is a CID. */
const ipfsNamespace = Uint8Array.of(0xe3, 0x01)

/** What a name stands for, as ENS clients read it (ENSIP-7): content on IPFS. */
export function formatContenthash(cid: CID): Hex {
  return bytesToHex(concatBytes([ipfsNamespace, cid.toV1().bytes]))
}

/**
 * Reads what a name stands for.
 *
 * @returns undefined where it stands for nothing.
 * @throws ProtocolError `cid_malformed` for what is no content of this network, such as content on Swarm
 */
export function parseContenthash(bytes: Uint8Array): CID | undefined {
  if (bytes.byteLength === 0) return undefined
  try {
    const [first, second] = bytes
    if (bytes.byteLength > limits.cidBytesMax) throw new Error('too many bytes')
    if (first !== ipfsNamespace[0] || second !== ipfsNamespace[1]) throw new Error('not on IPFS')
    return toContentCid(CID.decode(bytes.subarray(ipfsNamespace.byteLength)))
  } catch (cause) {
    throw new ProtocolError('cid_malformed', 'What the name stands for is no content of this network.', {
      hint: 'Its owner has to set the contenthash of its resolver to the CID of a deployment.',
      cause,
    })
  }
}
