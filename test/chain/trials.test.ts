import { cp } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import type { Address } from 'viem'
import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { usdc } from '../../protocol/usdc.ts'
import { advanceUntil } from '../support/clock.ts'
import { claimOf, createTempDir, never, passOf, receiptOf, reserve } from '../support/money.ts'
import { logThat, openSettling } from '../support/settling.ts'

/** Trial calls on a real chain: counted in batches, once, and no money moves. */

async function setup() {
  const s = await openSettling()
  type Process = Awaited<ReturnType<typeof s.start>>
  const grant = (p: Process, user: Address, calls: number) =>
    p.sender.run(escrowCalls(s.chain.escrow).grantCredits(user, calls), never)
  const tryCall = (p: Process, user: Address) => {
    const claim = claimOf({
      payer: { kind: 'trial', address: user, pass: passOf({ payer: user, providers: [s.provider] }) },
      grant: undefined,
      credits: p.mirror.credits(user),
      priceUsdc: usdc(0n),
      nowSeconds: Math.floor(s.clock.nowMs() / 1000),
    })
    return { claim, result: p.ledger.reserve(claim) }
  }
  /** What the chain has counted and the books do not know is looked up behind the calls. */
  const tryUntilProved = async (p: Process, user: Address) => {
    for (;;) {
      const tried = tryCall(p, user)
      const { result } = tried
      if (result.kind === 'reserved' || result.error.code !== 'chain_disputed') return tried
      await setImmediate()
    }
  }
  /** Makes calls one after the other. @returns how many there were */
  const make = async (p: Process, user: Address, calls: number): Promise<number> => {
    await p.mirror.refresh(never)
    let made = 0
    for (let call = 0; call < calls; call += 1) {
      const { claim, result } = await tryUntilProved(p, user)
      if (result.kind === 'refused') break
      await result.reservation.charge(receiptOf(claim, { provider: s.provider }))
      made += 1
    }
    return made
  }
  const onChain = (user: Address) =>
    s.chain.client.readContract({
      address: s.chain.escrow,
      abi: escrowAbi,
      functionName: 'creditsOf',
      args: [s.provider, user],
    })
  /** An account without any money in the escrow. */
  const createUser = async () => (await s.chain.createAccount()).address
  const place = { address: s.chain.escrow, abi: escrowAbi, fromBlock: 0n } as const
  const readCounted = async () => {
    const events = await s.chain.client.getContractEvents({ ...place, eventName: 'CreditsUsed' })
    return events.map(({ args }) => args.used)
  }
  const readSkipped = () => s.chain.client.getContractEvents({ ...place, eventName: 'Skipped' })
  return {
    ...s,
    createUser,
    grant,
    make,
    onChain,
    readCounted,
    readSkipped,
    [Symbol.asyncDispose]: () => s[Symbol.asyncDispose](),
  }
}

test('trial calls of many users are counted by one transaction, beside the money of others', async () => {
  await using s = await setup()
  await using p = await s.start()
  const users = [await s.createPayer(), await s.createUser(), await s.chain.createPayer(50n)]
  const [paying = '0x', ...trying] = users
  for (const user of trying) await s.grant(p, user, 5)
  await p.charge(paying, 3)
  for (const user of trying) expect(await s.make(p, user, 9)).toBe(5)
  const { batches } = await p.settler.settleNow(never)
  expect(batches).toMatchObject([
    { paidUsdc: 21n, receipts: 3 },
    { paidUsdc: 0n, receipts: 0, rows: trying.map((payer) => ({ payer, calls: 5 })), skipped: [] },
  ])
  for (const user of trying) expect(await s.onChain(user)).toEqual({ granted: 5n, used: 5n })
  expect(await s.earned()).toBe(21n)
  expect(await s.chain.balanceOf(trying[1] ?? '0x')).toBe(50n)
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })

  // More were given, and only those are there.
  await s.grant(p, trying[0] ?? '0x', 2)
  expect(await s.make(p, trying[0] ?? '0x', 9)).toBe(2)
  await p.settler.settleNow(never)
  expect(await s.onChain(trying[0] ?? '0x')).toEqual({ granted: 7n, used: 7n })
  expect(await s.readSkipped()).toEqual([])
})

test.each(['batch_created', 'transaction_sent', 'transaction_concluded', 'batch_settled'])(
  'a crash right after %s loses no trial call, gives none away twice and counts each once',
  async (event) => {
    await using s = await setup()
    const user = await s.createUser()
    const killed = new AbortController()
    {
      const log = logThat(event, () => killed.abort(new Error('killed')))
      // Only what settles the trial calls is heard: the grant's own transaction was before.
      const q = await s.start()
      await s.grant(q, user, 5)
      await q.crash()
      const p = await s.start({}, log)
      expect(await s.make(p, user, 3)).toBe(3)
      await expect(p.settler.settleNow(killed.signal)).rejects.toThrow('killed')
      await p.crash()
    }
    await using p = await s.start()
    expect(await s.make(p, user, 9)).toBe(2)
    await p.settler.settleNow(never)
    expect(await s.onChain(user)).toEqual({ granted: 5n, used: 5n })
    expect(await p.ledger.batches.readOpen()).toEqual([])
    const counted = await s.readCounted()
    expect(counted.at(-1)).toBe(5n)
    expect(counted.length).toBeLessThanOrEqual(2)
    expect(await s.earned()).toBe(0n)
  },
)

test('a ledger that is put back from before gives no trial call away twice', async () => {
  await using s = await setup()
  const user = await s.createUser()
  using backup = createTempDir()
  {
    const p = await s.start()
    await s.grant(p, user, 5)
    expect(await s.make(p, user, 1)).toBe(1)
    await p.crash()
  }
  await cp(s.dir, backup.path, { recursive: true })
  {
    await using p = await s.start()
    expect(await s.make(p, user, 3)).toBe(3)
    await p.settler.settleNow(never)
  }
  await cp(backup.path, s.dir, { recursive: true, force: true })
  await using p = await s.start()
  expect(await s.make(p, user, 9)).toBe(1)
  await p.settler.settleNow(never)
  expect(await s.onChain(user)).toEqual({ granted: 5n, used: 5n })
})

test('a re-org that takes credits away stops the calls, and as many are counted as there still are', async () => {
  await using s = await setup()
  await using p = await s.start()
  const user = await s.createUser()
  await s.grant(p, user, 2)
  const goBack = await s.chain.fork()
  // Sent by another program of the provider, so that nobody offers it again.
  await s.chain.unlock(s.provider)
  await s.chain.sendCall(s.provider, escrowCalls(s.chain.escrow).grantCredits(user, 3))
  expect(await s.make(p, user, 4)).toBe(4)
  await goBack()
  for (let block = 0; block < 3; block += 1) await s.chain.mine()
  expect(await s.make(p, user, 1)).toBe(0)
  await p.settler.settleNow(never)
  expect(await s.onChain(user)).toEqual({ granted: 2n, used: 2n })
  expect(await p.settler.settleNow(never)).toEqual({ batches: [] })
  expect(await s.readSkipped()).toEqual([])
})

test('where the command line took the nonce of a settlement, it is sent anew, and each call is counted once', async () => {
  await using s = await setup()
  const log = createTestLog()
  await using p = await s.start({}, log)
  const user = await s.createUser()
  await s.grant(p, user, 5)
  expect(await s.make(p, user, 3)).toBe(3)
  const goBack = await s.chain.fork()
  const { batches } = await p.settler.settleNow(never)
  // As if the provider had signed it, and been slower.
  await goBack()
  await s.chain.unlock(s.provider)
  await s.chain.sendCall(s.provider, escrowCalls(s.chain.escrow).grantCredits(user, 2))
  await s.chain.mine()
  await p.ledger.batches.saveState(batches[0]!.id, 'mined')
  await p.mirror.refresh(never)
  const settling = p.settler.settleNow(never)
  await advanceUntil(s.clock, settling)
  expect(log.lines.map(({ event }) => event)).toContain('batch_abandoned')
  expect(await s.onChain(user)).toEqual({ granted: 7n, used: 3n })
  expect(await p.ledger.batches.readOpen()).toEqual([])
  expect(await s.make(p, user, 9)).toBe(4)
})

test('while gas has a limit trial calls wait, also with money that is worth it; a shutdown counts them', async () => {
  await using s = await setup()
  const user = await s.createUser()
  {
    await using p = await s.start({
      intervalMs: 60_000,
      feeLimit: { percentMax: 100, etherPriceUsdc: usdc(1n) },
    })
    await s.grant(p, user, 5)
    expect(await s.make(p, user, 2)).toBe(2)
    const payer = await s.createPayer()
    await p.charge(payer, 1)
    const settled = new Promise((resolve) => p.settler.onSettled(resolve))
    await s.clock.advance(60_000)
    expect(await settled).toMatchObject({ paidUsdc: 7n })
    expect(await s.onChain(user)).toEqual({ granted: 5n, used: 0n })
  }
  expect(await s.onChain(user)).toEqual({ granted: 5n, used: 2n })
})

test('while the chain is away trial calls go on, and are counted when it is back', async () => {
  await using s = await setup()
  await using p = await s.start()
  const user = await s.createUser()
  await s.grant(p, user, 3)
  await p.mirror.refresh(never)
  await s.chain.goOffline()
  for (let call = 0; call < 3; call += 1) {
    const claim = claimOf({
      payer: { kind: 'trial', address: user, pass: passOf({ payer: user, providers: [s.provider] }) },
      grant: undefined,
      credits: p.mirror.credits(user),
      priceUsdc: usdc(0n),
      chainLostSeconds: 10 ** 7,
    })
    await reserve(p.ledger, claim).charge(receiptOf(claim, { provider: s.provider }))
  }
  await expect(p.settler.settleNow(never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  await s.chain.goOnline()
  await p.settler.settleNow(never)
  expect(await s.onChain(user)).toEqual({ granted: 3n, used: 3n })
})
