import { type PublicClient, testActions } from 'viem'
import type { Clock } from '../base/clock.ts'
import { limits } from '../limits.ts'
import { reachChain } from './client.ts'

/** The clock that contracts go by: the timestamps of blocks. */
export interface ChainTime {
  /** Resolves when every block to come has at least this timestamp. @throws ProtocolError `chain_unreachable` */
  waitUntil(timestampSeconds: number, signal: AbortSignal): Promise<void>
}

export interface ChainTimeDeps {
  readonly client: PublicClient
  readonly clock: Clock
}

/** Waits for a chain that makes blocks by itself. */
export function createChainTime({ client, clock }: ChainTimeDeps): ChainTime {
  return {
    async waitUntil(timestampSeconds, signal) {
      for (;;) {
        const leftSeconds = timestampSeconds - (await readTime(client, 'latest', signal))
        if (leftSeconds <= 0) return
        await clock.sleep(Math.max(limits.chainTimeIntervalMs, leftSeconds * 1_000), signal)
      }
    },
  }
}

/**
 * Asks a development chain, which makes blocks only for transactions, to move its clock: never ahead of everybody's, or
 * what is signed to hold for a minute would be over before it began. Development chains start behind, for this; where
 * that is used up it waits.
 */
export function createDevChainTime({ client, clock }: ChainTimeDeps): ChainTime {
  const test = client.extend(testActions({ mode: 'hardhat' }))
  return {
    async waitUntil(timestampSeconds, signal) {
      const aheadMs = timestampSeconds * 1_000 - clock.nowMs()
      if (aheadMs > 0) await clock.sleep(aheadMs, signal)
      const leftSeconds = timestampSeconds - (await readTime(client, 'pending', signal))
      if (leftSeconds > 0)
        await reachChain(test.increaseTime({ seconds: leftSeconds }), 'move the clock', signal)
      await reachChain(test.mine({ blocks: 1 }), 'make a block', signal)
    },
  }
}

async function readTime(
  client: PublicClient,
  blockTag: 'latest' | 'pending',
  signal: AbortSignal,
): Promise<number> {
  const { timestamp } = await reachChain(client.getBlock({ blockTag }), 'read the time', signal)
  return Number(timestamp)
}
