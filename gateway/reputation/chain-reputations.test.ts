import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { ReputationReader } from '../../protocol/chain/reputation-reader.ts'
import { limits } from '../../protocol/limits.ts'
import type { ReputationFacts } from '../../protocol/reputation.ts'
import { addressOf } from '../../test/support/money.ts'
import { createChainReputations } from './chain-reputations.ts'

const [alice, bob, ann, owner] = [addressOf(1), addressOf(2), addressOf(3), addressOf(4)]

/** A chain on which ann pays each provider 100 in every block. */
function setup(newest: bigint) {
  const clock = createTestClock()
  const reads: { readonly provider: string; readonly fromBlock: bigint; readonly toBlock: bigint }[] = []
  const chain = { newest, failure: undefined as Error | undefined, asked: 0 }
  const reader: ReputationReader = {
    async newestBlock() {
      chain.asked += 1
      if (chain.failure) throw chain.failure
      return chain.newest
    },
    async read({ provider, fromBlock, toBlock, ...parties }): Promise<ReputationFacts> {
      reads.push({ provider, fromBlock, toBlock })
      const blocks = toBlock - fromBlock + 1n
      const charge = { payer: ann, signer: ann, paid: 100n * blocks, calls: Number(toBlock) }
      return { provider, ...parties, charges: [charge], ratings: [], gifts: [] }
    },
  }
  const log = createTestLog()
  const reputations = createChainReputations({ clock, log, reader })
  const tick = async () => {
    await clock.advance(limits.routeReputationIntervalMs)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const want = (...providers: (typeof alice)[]) =>
    reputations.want(providers.map((address) => ({ address, owner })))
  return { clock, log, chain, reads, tick, want, reputations }
}

test('the chain is read behind the calls, of whom somebody wanted, and on from where it was', async () => {
  await using at = { ...setup(9n), [Symbol.asyncDispose]: () => at.reputations[Symbol.asyncDispose]() }
  await at.tick()
  expect(at.chain.asked).toBe(0)
  at.want(alice)
  expect(at.reputations.of(alice)).toBeUndefined()
  await at.tick()
  expect(at.reputations.of(alice)).toMatchObject({
    fromBlock: 0n,
    toBlock: 9n,
    reputation: { counted: 1_000n },
  })
  expect(at.reputations.of(bob)).toBeUndefined()
  at.chain.newest = 11n
  await at.tick()
  expect(at.reputations.of(alice)).toMatchObject({ toBlock: 11n, reputation: { counted: 1_200n, calls: 11 } })
  await at.tick()
  expect(at.reads).toEqual([
    { provider: alice, fromBlock: 0n, toBlock: 9n },
    { provider: alice, fromBlock: 10n, toBlock: 11n },
  ])
  // Another owner has other gifts.
  at.reputations.want([{ address: alice, owner: bob }])
  await at.tick()
  expect(at.reads.at(-1)).toEqual({ provider: alice, fromBlock: 0n, toBlock: 11n })
})

test('what is read at a time is bounded, and who was read least lately comes first', async () => {
  const blocks = BigInt(limits.routeReputationBlocksAtOnceMax)
  const newest = BigInt(limits.routeReputationBlocksMax) + 500n
  await using at = { ...setup(newest), [Symbol.asyncDispose]: () => at.reputations[Symbol.asyncDispose]() }
  const many = Array.from({ length: limits.routeReputationsAtOnceMax + 2 }, (_, index) =>
    addressOf(100 + index),
  )
  at.want(...many)
  await at.tick()
  expect(at.reads).toHaveLength(limits.routeReputationsAtOnceMax)
  expect(at.reads[0]).toMatchObject({ fromBlock: 500n, toBlock: 499n + blocks })
  await at.tick()
  expect(new Set(at.reads.map(({ provider }) => provider)).size).toBe(many.length)
})

test('whom nobody wanted for a while is not read; a chain that is away leaves what was known', async () => {
  await using at = { ...setup(9n), [Symbol.asyncDispose]: () => at.reputations[Symbol.asyncDispose]() }
  at.want(alice)
  await at.tick()
  at.chain.newest = 20n
  at.chain.failure = new Error('away')
  await at.tick()
  expect(at.reputations.of(alice)).toMatchObject({ toBlock: 9n })
  expect(at.log.lines.some(({ event }) => event === 'reputations_unread')).toBe(true)
  at.chain.failure = undefined
  await at.clock.advance(limits.routeReputationWantedMs)
  await at.tick()
  const asked = at.chain.asked
  await at.tick()
  expect(at.chain.asked).toBe(asked)
})
