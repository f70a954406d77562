import type { Hex, PublicClient } from 'viem'
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import { createRecent } from '../base/recent.ts'
import { raceSignal } from '../base/signal.ts'
import { limits } from '../limits.ts'
import { isSeedBlock, seedBlockAt } from '../swarm/select-members.ts'
import { reachChain } from './client.ts'

export interface SeedBlock {
  readonly number: bigint
  readonly hash: Hex
}

/** The blocks that members of swarms are drawn with. What was read holds for a moment, so that calls seldom wait for the chain. */
export interface SeedBlocks {
  /** The one to draw with now. @throws ProtocolError `chain_unreachable` */
  latest(signal: AbortSignal): Promise<SeedBlock>
  /** @returns undefined for a block that nobody should draw with now. @throws ProtocolError `chain_unreachable` */
  find(number: bigint, signal: AbortSignal): Promise<SeedBlock | undefined>
}

type Kept<T> = { readonly value: Promise<T>; readonly atMs: number }

export function createSeedBlocks({ client, clock }: { client: PublicClient; clock: Clock }): SeedBlocks {
  let head: Kept<bigint> | undefined
  const blocks = createRecent<bigint, Kept<SeedBlock | undefined>>(limits.swarmBlocksKnownMax)
  // Shared by all who wait, so it has a bound of its own and nobody's signal.
  const bounded = <T>(request: Promise<T>, what: string) =>
    reachChain(request, what, AbortSignal.timeout(limits.rpcTimeoutMs))

  function readHead(): Promise<bigint> {
    const nowMs = clock.monotonicMs()
    if (head && nowMs - head.atMs <= limits.swarmHeadAgeMsMax) return head.value
    const value = bounded(client.getBlockNumber({ cacheTime: 0 }), 'read the height of the chain')
    const read = { value, atMs: nowMs }
    head = read
    value.catch(() => {
      if (head === read) head = undefined
    })
    return value
  }

  function readBlock(number: bigint): Promise<SeedBlock | undefined> {
    const nowMs = clock.monotonicMs()
    const known = blocks.get(number)
    // Not for ever: blocks as new as these may still be replaced by others.
    if (known && nowMs - known.atMs <= limits.swarmBlockAgeMsMax) return known.value
    const value = bounded(client.getBlock({ blockNumber: number }), 'read a block').then(({ hash }) =>
      hash ? { number, hash } : undefined,
    )
    blocks.set(number, { value, atMs: nowMs })
    value.catch(() => blocks.delete(number))
    return value
  }

  return {
    async latest(signal) {
      const number = seedBlockAt(await raceSignal(readHead(), signal))
      const block = await raceSignal(readBlock(number), signal)
      assert(block, 'a block below the head has a hash')
      return block
    },
    async find(number, signal) {
      const own = await raceSignal(readHead(), signal)
      if (!isSeedBlock(number, own)) return undefined
      // One that is ahead of this chain's head may be there by the time it is read.
      return raceSignal(
        readBlock(number).catch((error) => (number > own ? undefined : Promise.reject(error))),
        signal,
      )
    },
  }
}
