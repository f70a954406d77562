import type { Blockstore } from 'interface-blockstore'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type ReadBlock, readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import { blockCodec, type CID } from '../../protocol/ipfs/cid.ts'
import { createSingleFlight } from '../../protocol/ipfs/single-flight.ts'
import { limits } from '../../protocol/limits.ts'

export interface FetchSpecDeps {
  readonly blockstore: Pick<Blockstore, 'get'>
  /** Asked for what is not in the store. */
  readonly peers: { readonly readBlock: ReadBlock }
}

/**
 * Finds specs, which are one raw block each, in the store or at a peer. Anybody may ask for any CID, and peers are waited
 * for in vain where nobody has it, so few are looked for at once, and none for long, whoever still waits for it.
 */
export function createSpecFetcher(
  { blockstore, peers }: FetchSpecDeps,
  { timeoutMs = limits.routeSpecFetchMs }: { readonly timeoutMs?: number } = {},
): ReadBlock {
  const flights = createSingleFlight<Uint8Array>()
  let asked = 0

  async function find(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    try {
      return await readVerifiedBlock(blockstore, cid, signal)
    } catch (error) {
      if (!isProtocolError(error)) throw error
    }
    if (asked >= limits.routeSpecFetchesMax) throw tooMany()
    asked++
    try {
      return await peers.readBlock(cid, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
    } finally {
      asked--
    }
  }

  return async (cid, signal) => {
    if (cid.code !== blockCodec.raw) throw noSpec(cid)
    return flights.join(cid.toString(), (shared) => find(cid, shared), signal)
  }
}

function noSpec(cid: CID): ProtocolError {
  return new ProtocolError('deployment_invalid', `${cid} is no deployment: those are one raw block.`, {
    hint: 'Call the CID that "khachapuri deploy" printed.',
  })
}

function tooMany(): ProtocolError {
  return new ProtocolError('too_many_requests', 'Too many deployments are being looked for.', {
    hint: 'Send it again a little later.',
  })
}
