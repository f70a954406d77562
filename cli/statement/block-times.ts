import type { PublicClient } from 'viem'
import { reachChain } from '../../protocol/chain/client.ts'

/** When blocks were made, in seconds since 1970. The last one that was asked for is remembered. */
export interface BlockTimes {
  timeOf(blockNumber: bigint): Promise<number>
  /** The first block that was made at a time or later; one more than the newest, where there is none. */
  findFirst(seconds: number, newest: bigint): Promise<bigint>
}

export function createBlockTimes(client: PublicClient, signal: AbortSignal): BlockTimes {
  let last: { readonly blockNumber: bigint; readonly seconds: number } | undefined

  async function timeOf(blockNumber: bigint): Promise<number> {
    if (last?.blockNumber === blockNumber) return last.seconds
    const block = await reachChain(client.getBlock({ blockNumber }), 'read a block', signal)
    last = { blockNumber, seconds: Number(block.timestamp) }
    return last.seconds
  }

  return {
    timeOf,
    async findFirst(seconds, newest) {
      let [low, high] = [0n, newest + 1n]
      while (low < high) {
        const middle = (low + high) / 2n
        if ((await timeOf(middle)) < seconds) low = middle + 1n
        else high = middle
      }
      return low
    },
  }
}
