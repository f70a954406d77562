import fc from 'fast-check'
import { createPublicClient } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { createGrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { createRpcTransport, findLagging } from '../../protocol/chain/rpc-transport.ts'
import { limits } from '../../protocol/limits.ts'
import { openTestChain } from '../support/chain.ts'
import { addressOf, never } from '../support/money.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'
import { openStuckRpc } from '../support/stuck-rpc.ts'

async function setup() {
  await using starting = new AsyncDisposableStack()
  const chain = starting.use(await openTestChain())
  const url = new URL(chain.rpc.chain?.rpcUrls.default.http[0] ?? '')
  const stuck = starting.use(await openStuckRpc(url))
  const good = starting.use(await openRpcProxy(url))
  const parts = starting.move()
  const { chainId } = chain.market
  return {
    chain,
    stuck,
    good,
    client: createChainClient({ chainId, rpcUrls: [stuck.url, good.url] }),
    stuckOnly: createChainClient({ chainId, rpcUrls: [stuck.url] }),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const mine = async ({ chain }: Awaited<ReturnType<typeof setup>>, blocks: number) => {
  for (let block = 0; block < blocks; block += 1) await chain.mine()
}

test('a server that is stuck at an old block is passed over, though it answers first and without an error', async () => {
  await using s = await setup()
  await mine(s, 10)
  const height = await s.chain.client.getBlockNumber()
  expect(await s.stuckOnly.getBlockNumber()).toBe(height - 10n)
  expect(await s.client.getBlockNumber()).toBe(height)
})

test('a server that is as far as the others is asked in its turn, and one that fails is passed over', async () => {
  await using s = await setup()
  await s.client.getBlockNumber()
  const asked = () => s.good.calls.filter(({ method }) => method === 'eth_getBalance').length
  await s.client.getBalance({ address: addressOf(1) })
  expect(asked()).toBe(0)
  await s.stuck.close()
  await s.client.getBalance({ address: addressOf(1) })
  expect(asked()).toBe(1)
})

test('a server that missed one look is a witness again after a moment', async () => {
  await using s = await setup()
  await using other = await openRpcProxy(s.good.url)
  const clock = createTestClock()
  const transport = createRpcTransport([s.good.url, other.url], { nowMs: clock.monotonicMs })
  const client = createPublicClient({ transport })
  const asked = () => other.calls.filter(({ method }) => method === 'eth_call').length
  const call = () => client.call({ to: s.chain.escrow, data: '0x313ce567' }).catch(() => undefined)
  other.cut()
  await call()
  expect(asked()).toBe(0)
  other.restore()
  await clock.advance(limits.rpcRecheckIntervalMs - 1)
  await call()
  expect(asked()).toBe(0)
  await clock.advance(1)
  // The look goes on beside the call that it is made with.
  const askedAfterCall = async () => {
    await call()
    return asked()
  }
  await expect.poll(askedAfterCall).toBeGreaterThan(0)
})

test('what the contract says is not asked of the next server', async () => {
  await using s = await setup()
  await s.client.getBlockNumber()
  const withdraw = {
    account: addressOf(7),
    to: s.chain.escrow,
    data: '0x2e1a7d4d'.padEnd(74, '0') as `0x${string}`,
  }
  await expect(s.client.estimateGas(withdraw)).rejects.toThrow()
  expect(s.good.calls.filter(({ method }) => method === 'eth_estimateGas')).toEqual([])
})

test('whoever is far behind the one in the middle lags, and one that makes up a height hurts nobody', () => {
  expect(findLagging([10n, 100n])).toEqual(new Set([0]))
  expect(findLagging([98n, 100n])).toEqual(new Set())
  expect(findLagging([100n, 101n, 10n ** 12n])).toEqual(new Set())
  expect(findLagging([undefined, 10n, 100n, 101n])).toEqual(new Set([1]))
  expect(findLagging([undefined, undefined])).toEqual(new Set())
  fc.assert(
    fc.property(fc.array(fc.option(fc.bigInt(0n, 1_000n), { nil: undefined }), { minLength: 1 }), (heads) => {
      const known = heads.filter((head) => head !== undefined)
      // Somebody is always left to ask.
      if (known.length > 0) expect(findLagging(heads).size).toBeLessThan(known.length)
    }),
  )
})

test('a head that never moves is a chain that is lost, where blocks come by themselves; it is found when it moves', async () => {
  await using s = await setup()
  const clock = createTestClock()
  const log = createTestLog()
  await using mirror = await createGrantMirror(
    { client: s.stuckOnly, clock, log },
    {
      escrow: s.chain.escrow,
      provider: addressOf(9),
      fromBlock: 0n,
      intervalMs: 10 ** 9,
      headStillMsMax: 60_000,
    },
    never,
  )
  await clock.advance(59_000)
  await mirror.refresh(never)
  expect(mirror.status().lostSinceMs).toBeUndefined()
  await clock.advance(1_000)
  await expect(mirror.refresh(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  expect(mirror.status().lostSinceMs).toBe(clock.nowMs())
  await mine(s, 1)
  s.stuck.catchUp()
  await mirror.refresh(never)
  expect(mirror.status().lostSinceMs).toBeUndefined()
})
