import type { Hex, PublicClient } from 'viem'
import type { RpcCall } from '../support/rpc-proxy.ts'
import type { Random } from './random.ts'

/** What the way to the chain does to those who ask. */
export type RpcMood = 'well' | 'refusing' | 'stalling' | 'flaky'

/** A chain and the way to it, which misbehave on request. */
export interface Trouble {
  /** For the proxy: breaks or holds up a request, as the mood is. */
  before(call: RpcCall): Promise<void>
  after(call: RpcCall): void
  setMood(mood: RpcMood): void
  /** From here on, what blocks hold can be taken away. */
  mark(): Promise<void>
  /**
   * Takes all blocks since the mark away, and makes others: longer by one, with as many of the transactions as the pool
   * happens to have kept, in their order.
   */
  reorganise(): Promise<void>
}

export function createTrouble(client: PublicClient, random: Random): Trouble {
  const request = (method: string, params: readonly unknown[]) =>
    client.request({ method, params } as never) as Promise<unknown>
  let mood: RpcMood = 'well'
  let isOver = Promise.withResolvers<void>()
  let snapshot: { readonly id: unknown; readonly height: bigint } | undefined
  let sentSinceMark: Hex[] = []

  return {
    async before() {
      if (mood === 'refusing' || (mood === 'flaky' && random.chance(30))) throw new Error('refused')
      if (mood === 'stalling') await isOver.promise
    },
    after({ method, params }) {
      if (method === 'eth_sendRawTransaction') sentSinceMark.push(...(JSON.parse(params) as Hex[]))
    },
    setMood(next) {
      mood = next
      isOver.resolve()
      isOver = Promise.withResolvers()
    },
    async mark() {
      snapshot = { id: await request('evm_snapshot', []), height: await client.getBlockNumber() }
      sentSinceMark = []
    },
    async reorganise() {
      if (!snapshot) return
      const { id, height } = snapshot
      snapshot = undefined
      const lost = (await client.getBlockNumber()) - height
      await request('evm_revert', [id])
      const kept = sentSinceMark.slice(0, random.between(0, sentSinceMark.length))
      sentSinceMark = []
      for (const raw of kept) await request('eth_sendRawTransaction', [raw]).catch(() => undefined)
      const grown = (await client.getBlockNumber()) - height
      if (grown <= lost) await request('hardhat_mine', [`0x${(lost - grown + 1n).toString(16)}`])
    },
  }
}
