import fc from 'fast-check'
import { type Address, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { createGrantMirror, type GrantChange, type GrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { limits } from '../../protocol/limits.ts'
import { encodeSettleRows } from '../../protocol/settlement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { openTestChain, type TestChain } from '../support/chain.ts'
import { never } from '../support/money.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'

const signer: Address = '0x00000000000000000000000000000000000000A5'

async function setup() {
  const chain = await openTestChain()
  const { address: provider } = await chain.createAccount()
  await chain.unlock(provider)
  const clock = createTestClock()
  const log = createTestLog()
  const clientOf = (rpcUrl: URL) => createChainClient({ chainId: chain.market.chainId, rpcUrls: [rpcUrl] })
  const openMirror = (intervalMs = 1_000, rpcUrl?: URL) =>
    createGrantMirror(
      { client: rpcUrl ? clientOf(rpcUrl) : chain.rpc, clock, log },
      { escrow: chain.escrow, provider, fromBlock: 0n, intervalMs },
      never,
    )
  return {
    chain,
    provider,
    clock,
    log,
    openMirror,
    [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
  }
}

async function expectAsStored(
  chain: TestChain,
  mirror: GrantMirror,
  provider: Address,
  payers: readonly Address[],
) {
  for (const payer of payers) {
    for (const key of [zeroAddress, signer]) {
      const stored = await readGrant(chain.client, chain.escrow, { payer, provider, signer: key }, never)
      expect(mirror.grant(payer, key)).toEqual(stored)
    }
    const { granted, used } = await chain.client.readContract({
      address: chain.escrow,
      abi: escrowAbi,
      functionName: 'creditsOf',
      args: [provider, payer],
    })
    const none = granted === 0n
    expect(mirror.credits(payer)).toEqual(
      none ? undefined : { provider, user: payer, granted: Number(granted), used: Number(used) },
    )
  }
}

test('a mirror that starts late knows all grants of its provider and no others', async () => {
  await using s = await setup()
  const { chain, provider } = s
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await chain.approve(payer, { provider: signer, priceUsdc: 10n, budgetUsdc: 700n })
  await using mirror = await s.openMirror()
  expect([...mirror.grants()]).toHaveLength(1)
  expect(mirror.grant(payer)).toMatchObject({
    payer,
    provider,
    budgetUsdc: 1_000n,
    priceUsdc: 10n,
    spentUsdc: 0n,
  })
  expect(mirror.grant(provider)).toBeUndefined()
})

test('changes arrive by themselves, with what happened and the grant after it', async () => {
  await using s = await setup()
  const { chain, provider, clock } = s
  await using mirror = await s.openMirror(1_000)
  const changes: GrantChange[] = []
  const nextChange = () => new Promise<void>((resolve) => mirror.onChange(() => resolve()))

  const payer = await chain.createPayer(5_000n, {
    provider,
    priceUsdc: 10n,
    budgetUsdc: 1_000n,
    noticeHours: 1,
  })
  mirror.onChange((change) => changes.push(change))
  for (const act of [undefined, () => chain.revoke(payer, provider), reclaimLater]) {
    await act?.()
    const arrived = nextChange()
    await clock.advance(1_000)
    await arrived
  }
  async function reclaimLater() {
    await chain.wait(3_601)
    await chain.reclaim(payer, provider)
  }
  expect(changes.map(({ kind, grant }) => [kind, grant !== undefined])).toEqual([
    ['approved', true],
    ['revoked', true],
    ['reclaimed', false],
  ])
  expect(changes[1]?.grant?.expiry).toBeLessThan(4_000_000_000)
})

const isDone = () => true
const isRefused = () => false

type Step = { kind: string; who: number; amount: number; other: boolean }

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    'approve',
    'approve',
    'settle',
    'settle',
    'consume',
    'revoke',
    'reclaim',
    'give',
    'count',
    'look',
    'fork',
    'fork',
    'return',
    'return',
  ),
  who: fc.nat(2),
  amount: fc.integer({ min: 1, max: 60 }),
  other: fc.boolean(),
})

test('after any sequence of transactions and re-orgs the mirror equals the storage', async () => {
  await using s = await setup()
  const { chain, provider } = s
  const payers = [
    await chain.createPayer(10_000n),
    await chain.createPayer(10_000n),
    await chain.createPayer(300n),
  ]
  const totals = payers.map(() => ({ amount: 0, calls: 0 }))
  const done: Record<string, number> = {}

  async function act({ kind, who, amount, other }: Step): Promise<void> {
    const payer = payers[who] as Address
    const key = other ? signer : zeroAddress
    if (kind === 'approve') {
      const { budget } = await chain.client.readContract({
        address: chain.escrow,
        abi: escrowAbi,
        functionName: 'grantOf',
        args: [payer, provider, key],
      })
      await chain.approve(payer, {
        provider,
        signer: key,
        priceUsdc: 10n,
        budgetUsdc: budget + BigInt(amount),
        noticeHours: 1,
      })
    } else if (kind === 'settle') {
      const total = totals[who]!
      total.amount += amount
      total.calls += amount
      const rows = encodeSettleRows([{ payer, amountUsdc: usdc(BigInt(total.amount)), calls: total.calls }])
      await chain.send({
        from: provider,
        to: chain.escrow,
        abi: escrowAbi,
        functionName: 'settle',
        args: [rows, `0x${'11'.repeat(32)}`],
      })
    } else if (kind === 'consume') {
      await chain.send({
        from: provider,
        to: chain.escrow,
        abi: escrowAbi,
        functionName: 'consume',
        args: [payer, 7n],
      })
    } else if (kind === 'give') {
      await chain.sendCall(provider, escrowCalls(chain.escrow).grantCredits(payer, amount))
    } else if (kind === 'count') {
      const { used } = await chain.client.readContract({
        address: chain.escrow,
        abi: escrowAbi,
        functionName: 'creditsOf',
        args: [provider, payer],
      })
      const row = { user: payer, calls: Number(used) + (amount % 7) }
      await chain.sendCall(provider, escrowCalls(chain.escrow).useCredits([row]))
    } else if (kind === 'revoke') await chain.revoke(payer, provider)
    else {
      await chain.wait(3_601)
      await chain.reclaim(payer, provider)
    }
  }

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      await using mirror = await s.openMirror()
      let goBack: (() => Promise<void>) | undefined
      for (const next of steps) {
        if (next.kind === 'look') await mirror.refresh(never)
        else if (next.kind === 'fork') goBack = await chain.fork()
        else if (next.kind === 'return') {
          if (!goBack) continue
          await mirror.refresh(never)
          await goBack()
          goBack = undefined
          // Another history of the same length or longer, as a re-org brings it.
          await chain.wait(1)
        } else if (await act(next).then(isDone, isRefused)) done[next.kind] = (done[next.kind] ?? 0) + 1
      }
      // A fork is seen once it has grown as long as what it replaces.
      while ((await chain.client.getBlockNumber({ cacheTime: 0 })) <= mirror.status().blockNumber)
        await chain.mine()
      await mirror.refresh(never)
      await expectAsStored(chain, mirror, provider, payers)
    }),
    { numRuns: 15, seed: 4_711 },
  )
  // The sequences did happen: most of what was tried was accepted, and histories were taken back.
  for (const kind of ['approve', 'settle', 'consume', 'revoke', 'reclaim', 'give', 'count'])
    expect(done[kind]).toBeGreaterThan(3)
  expect(s.log.lines.filter(({ event }) => event === 'chain_reorganised').length).toBeGreaterThan(3)
})

test('a re-org takes a grant back, and what was built on it is told', async () => {
  await using s = await setup()
  const { chain, provider, log } = s
  await using mirror = await s.openMirror()
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await mirror.refresh(never)
  const goBack = await chain.fork()
  await chain.approve(payer, { provider, priceUsdc: 10n, budgetUsdc: 3_000n })
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(3_000n)
  const changes: GrantChange[] = []
  mirror.onChange((change) => changes.push(change))
  await goBack()
  await chain.wait(5)
  await chain.mine()
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  expect(changes).toMatchObject([{ kind: 'rolled_back', payer }])
  expect(log.lines.map(({ event }) => event)).toContain('chain_reorganised')
})

test('grants count from the safe block, and not before', async () => {
  await using s = await setup()
  const { chain, provider } = s
  let safe: unknown
  const makeAllSafe = async () => {
    safe = await chain.client.request({ method: 'eth_getBlockByNumber', params: ['latest', false] })
  }
  await makeAllSafe()
  await using proxy = await openRpcProxy(chain.rpcUrl, {
    falsify: ({ method, params }, answer) =>
      method === 'eth_getBlockByNumber' && params.startsWith('["safe"') ? { result: safe } : answer,
  })
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await using mirror = await s.openMirror(1_000, proxy.url)
  expect(mirror.grant(payer)).toBeUndefined()
  await makeAllSafe()
  await chain.approve(payer, { provider, priceUsdc: 10n, budgetUsdc: 3_000n })
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
})

test('a chain that changes its history while it is asked is asked again, and its answers are not mixed', async () => {
  await using s = await setup()
  const { chain, provider } = s
  let reorganise: (() => Promise<void>) | undefined
  await using proxy = await openRpcProxy(chain.rpcUrl, {
    async after({ method }) {
      const now = method === 'eth_getLogs' ? reorganise : undefined
      if (!now) return
      reorganise = undefined
      await now()
    },
  })
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await using mirror = await s.openMirror(1_000, proxy.url)
  const goBack = await chain.fork()
  await chain.approve(payer, { provider, priceUsdc: 10n, budgetUsdc: 3_000n })
  reorganise = async () => {
    await goBack()
    // Another history of the same length.
    await chain.wait(5)
    while ((await chain.client.getBlockNumber({ cacheTime: 0 })) <= mirror.status().blockNumber)
      await chain.mine()
  }
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
})

test('a re-org deeper than all checkpoints reads everything again', async () => {
  await using s = await setup()
  const { chain, provider } = s
  const payer = await chain.createPayer(5_000n)
  const goBack = await chain.fork()
  await chain.approve(payer, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await using mirror = await s.openMirror()
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  await goBack()
  await chain.wait(9)
  await chain.approve(payer, { provider, priceUsdc: 11n, budgetUsdc: 44n })
  await mirror.refresh(never)
  await expectAsStored(chain, mirror, provider, [payer])
  expect(mirror.grant(payer)?.budgetUsdc).toBe(44n)
})

test('while the chain is down the mirror serves what it knew, says since when, and catches up', async () => {
  await using s = await setup()
  const { chain, provider, clock, log } = s
  await using mirror = await s.openMirror()
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await mirror.refresh(never)
  await chain.goOffline()
  const lostAt = clock.nowMs()
  await expect(mirror.refresh(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  await clock.advance(500)
  await expect(mirror.refresh(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  expect(mirror.status().lostSinceMs).toBe(lostAt)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  await chain.approve(payer, { provider, priceUsdc: 10n, budgetUsdc: 2_000n })
  await chain.goOnline()
  await mirror.refresh(never)
  expect(mirror.status().lostSinceMs).toBeUndefined()
  expect(mirror.grant(payer)?.budgetUsdc).toBe(2_000n)
  expect(log.lines.filter(({ event }) => event === 'chain_lost')).toHaveLength(1)
})

test('long histories are read in ranges', async () => {
  await using s = await setup()
  const { chain, provider } = s
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await chain.client.request({
    method: 'hardhat_mine',
    params: [`0x${(limits.logRangeBlocksMax * 2).toString(16)}`],
  } as never)
  await chain.approve(payer, { provider, priceUsdc: 12n, budgetUsdc: 1_500n })
  await using mirror = await s.openMirror()
  expect(mirror.grant(payer)).toMatchObject({ priceUsdc: 12n, budgetUsdc: 1_500n })
})

test('without a chain there is no mirror', async () => {
  await using s = await setup()
  await s.chain.goOffline()
  await expect(s.openMirror()).rejects.toMatchObject({ code: 'chain_unreachable' })
})

test('whoever waited for the start may go: the mirror looks on until it is disposed', async () => {
  await using s = await setup()
  const { chain, provider } = s
  const start = new AbortController()
  await using mirror = await createGrantMirror(
    { client: chain.rpc, clock: s.clock, log: s.log },
    { escrow: chain.escrow, provider, fromBlock: 0n, intervalMs: 10 ** 9 },
    start.signal,
  )
  start.abort(new Error('Ctrl-C'))
  const payer = await chain.createPayer(5_000n, { provider, priceUsdc: 10n, budgetUsdc: 1_000n })
  await mirror.refresh(never)
  expect(mirror.grant(payer)?.budgetUsdc).toBe(1_000n)
  expect(mirror.status().lostSinceMs).toBeUndefined()
})
