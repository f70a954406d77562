import { rm } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { type Address, type Hex, type LocalAccount, pad, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { readClaims } from '../../protocol/chain/read-claims.ts'
import { limits } from '../../protocol/limits.ts'
import type { LedgerPayer } from '../../protocol/payer.ts'
import { usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { trialSigner } from '../../provider/ledger/lanes.ts'
import { createProofs } from '../../provider/settlement/prove-collected.ts'
import { claimOf, never, passOf, receiptOf } from '../support/money.ts'
import { openRpcProxy, type RpcAnswer, type RpcCall } from '../support/rpc-proxy.ts'
import { openSettling } from '../support/settling.ts'

/**
 * One RPC server, which lies about what was collected, between a provider and a real chain; and books that were lost, which look
 * just the same.
 */

type Process = Awaited<ReturnType<Awaited<ReturnType<typeof openSettling>>['start']>>
type Lie = (call: RpcCall, answer: RpcAnswer) => RpcAnswer

interface Who {
  readonly payer: Address
  readonly signer: Address
  /** What a call of it is paid by. */
  readonly by: (p: Process, calls: number) => Promise<LedgerPayer>
}

async function setup() {
  await using starting = new AsyncDisposableStack()
  const s = starting.use(await openSettling())
  let lie: Lie | undefined
  const liar = starting.use(
    await openRpcProxy(s.chain.rpcUrl, { falsify: (call, answer) => lie?.(call, answer) ?? answer }),
  )
  const client = createChainClient({ chainId: s.chain.market.chainId, rpcUrls: [liar.url] })
  const log = createTestLog()

  /** A call at 7, if it is taken. @returns why not */
  async function call(p: Process, { payer, signer, by }: Who, calls = 0): Promise<string | undefined> {
    await p.mirror.refresh(never)
    const grant = signer === trialSigner ? undefined : p.mirror.grant(payer, signer)
    const credits = p.mirror.credits(payer)
    const claim = claimOf({
      payer: await by(p, (grant?.calls ?? 0) + calls + 10),
      grant,
      credits,
      priceUsdc: signer === trialSigner ? zeroUsdc : usdc(7n),
      nowSeconds: Math.floor(s.clock.nowMs() / 1000),
    })
    const result = p.ledger.reserve(claim)
    if (result.kind === 'refused') return result.error.code
    await result.reservation.charge(receiptOf(claim, { provider: s.provider }))
    return undefined
  }

  async function callTimes(p: Process, who: Who, calls: number): Promise<void> {
    for (let index = 0; index < calls; index += 1) expect(await call(p, who)).toBeUndefined()
  }

  const metered = async (): Promise<Who> => {
    const payer = await s.createPayer()
    return { payer, signer: zeroAddress, by: async () => ({ kind: 'owner', address: payer }) }
  }

  /** Pays by vouchers of a session key. */
  async function bySession(): Promise<Who & { readonly key: LocalAccount }> {
    const payer = await s.chain.createPayer(3_000n, { provider: s.provider, priceUsdc: 10n, budgetUsdc: 1n })
    const key = await s.chain.createAccount()
    const grant = { provider: s.provider, priceUsdc: 10n, budgetUsdc: 1_000n, signer: key.address }
    await s.chain.approve(payer, grant)
    const by = async (p: Process): Promise<LedgerPayer> => {
      const voucher = { payer, provider: s.provider, maxAmount: usdc(900n), maxCalls: 200, epoch: 0 }
      const signature = await signVoucher(voucher, key, s.chain.market)
      const signed = { voucher, signer: key.address, signature }
      await p.ledger.vouchers.accept(signed)
      return { kind: 'voucher', address: payer, signed }
    }
    return { payer, signer: key.address, by, key }
  }

  async function trying(p: Process): Promise<Who> {
    const payer = (await s.chain.createAccount()).address
    await p.sender.run(escrowCalls(s.chain.escrow).grantCredits(payer, 40), never)
    const pass = passOf({ payer, providers: [s.provider] })
    return { payer, signer: trialSigner, by: async () => ({ kind: 'trial', address: payer, pass }) }
  }

  return {
    ...s,
    log,
    start: () => s.start({}, log, client),
    client,
    call,
    callTimes,
    metered,
    bySession,
    trying,
    lie(next: Lie | undefined) {
      lie = next
    },
    loseBooks: () => rm(s.dir, { recursive: true }),
    [Symbol.asyncDispose]: parts(starting.move()),
  }
}

const parts = (stack: AsyncDisposableStack) => () => stack.disposeAsync()

/** The proof comes behind the calls. */
async function untilLookedAt(p: Process, { payer, signer }: Who): Promise<void> {
  const isProved = () => p.proofs.find({ payer, signer }).calls > 0
  while (!isProved() && p.proofs.disputes().length === 0) await setImmediate()
}

const add = (data: string, word: number, more: bigint): string => {
  const from = 2 + 64 * word
  const value = BigInt(`0x${data.slice(from, from + 64)}`) + more
  return data.slice(0, from) + value.toString(16).padStart(64, '0') + data.slice(from + 64)
}

/** Twenty calls and 140 more than were collected. */
const inSettled = 140n + (20n << 192n)

const inLogs =
  (change: (data: string, topics: readonly string[]) => string): Lie =>
  ({ method }, answer) => {
    if (method !== 'eth_getLogs') return answer
    const logs = answer.result as { data: string; topics: string[] }[]
    return { result: logs.map((log) => ({ ...log, data: change(log.data, log.topics) })) }
  }

/** The one word of `Settled`, and `spent` and `calls` of `Approved`. */
const moreIsSettled = inLogs((data) => {
  if (data.length === 2 + 64) return add(data, 0, inSettled)
  return data.length === 2 + 64 * 8 ? add(add(data, 5, 140n), 6, 20n) : data
})
const moreByVouchers = inLogs((data) => (data.length === 2 + 64 * 2 ? add(data, 1, inSettled) : data))

test('who is told by its only RPC server that more was collected than was stands still, and never asks for more', async () => {
  await using s = await setup()
  const who = await s.metered()
  const other = await s.metered()
  {
    await using p = await s.start()
    await s.callTimes(p, who, 5)
    await s.callTimes(p, other, 25)
  }
  expect(await s.earned()).toBe(210n)
  s.lie(moreIsSettled)
  {
    await using p = await s.start()
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect(await s.call(p, who)).toBe('chain_disputed')
      await untilLookedAt(p, who)
    }
    expect(p.proofs.disputes()).toMatchObject([{ payer: who.payer, said: { spentUsdc: 175n, calls: 25 } }])
    await p.settler.settleNow(never)
  }
  expect(await s.earned()).toBe(210n)
  // Nothing of the lie stays.
  s.lie(undefined)
  {
    await using p = await s.start()
    await s.callTimes(p, who, 1)
  }
  expect(await s.earned()).toBe(217n)
  expect(s.log.lines.map(({ event }) => event)).not.toContain('ledger_behind_chain')
})

test('what its vouchers would cover is not asked for either, whatever is said of them or of their epoch', async () => {
  await using s = await setup()
  const who = await s.bySession()
  {
    await using p = await s.start()
    await s.callTimes(p, who, 5)
  }
  expect(await s.earned()).toBe(35n)
  s.lie(moreByVouchers)
  {
    await using p = await s.start()
    expect(await s.call(p, who)).toBe('chain_disputed')
    await untilLookedAt(p, who)
    expect(await s.call(p, who)).toBe('chain_disputed')
  }
  expect(await s.earned()).toBe(35n)
})

test('a payer’s trial calls are not counted for it twice', async () => {
  await using s = await setup()
  const p = await s.start()
  const who = await s.trying(p)
  await s.callTimes(p, who, 3)
  await p[Symbol.asyncDispose]()
  s.lie(inLogs((data) => (data.length === 2 + 64 * 2 ? add(data, 1, 20n) : data)))
  {
    await using again = await s.start()
    expect(await s.call(again, who)).toBe('chain_disputed')
    await untilLookedAt(again, who)
    expect(await s.call(again, who)).toBe('chain_disputed')
  }
  s.lie(undefined)
  await using again = await s.start()
  await s.callTimes(again, who, 1)
  expect(again.ledger.uncounted(again.mirror.credits)).toMatchObject([{ calls: 4, credits: { used: 3 } }])
})

test('books that were lost are found again by the provider’s own transactions: what comes on top is paid, and nothing twice', async () => {
  await using s = await setup()
  const [who, session] = [await s.metered(), await s.bySession()]
  let trial: Who
  {
    await using p = await s.start()
    trial = await s.trying(p)
    for (const each of [who, session, trial]) await s.callTimes(p, each, 5)
  }
  expect(await s.earned()).toBe(70n)
  await s.loseBooks()
  {
    await using p = await s.start()
    for (const each of [who, session, trial]) {
      expect(await s.call(p, each)).toBe('chain_disputed')
      await untilLookedAt(p, each)
      await s.callTimes(p, each, 2)
    }
    expect(p.proofs.disputes()).toEqual([])
    expect(p.ledger.uncounted(p.mirror.credits)).toMatchObject([{ calls: 7, credits: { used: 5 } }])
  }
  expect(await s.earned()).toBe(98n)
  expect(s.log.lines.map(({ event }) => event)).toContain('ledger_behind_chain')
})

test('where the server shows no transaction its operator decides, and for no more than it has seen', async () => {
  await using s = await setup()
  const who = await s.metered()
  {
    await using p = await s.start()
    await s.callTimes(p, who, 5)
  }
  await s.loseBooks()
  s.lie(({ method }, answer) => (method === 'eth_getTransactionByHash' ? { result: null } : answer))
  await using p = await s.start()
  expect(() => p.proofs.accept(who, usdc(35n))).toThrow('Nothing is in dispute')
  expect(await s.call(p, who)).toBe('chain_disputed')
  await untilLookedAt(p, who)
  expect(() => p.proofs.accept(who, usdc(34n))).toThrow('0.000035 USDC are said to be collected')
  expect(await s.call(p, who)).toBe('chain_disputed')
  expect(p.proofs.accept(who, usdc(35n))).toMatchObject({ said: { spentUsdc: 35n, calls: 5 } })
  await s.callTimes(p, who, 2)
  await p.settler.settleNow(never)
  expect(await s.earned()).toBe(49n)
})

test('a server that has the transaction again, later, is asked again', async () => {
  await using s = await setup()
  const who = await s.metered()
  {
    await using p = await s.start()
    await s.callTimes(p, who, 5)
  }
  await s.loseBooks()
  s.lie(({ method }, answer) => (method === 'eth_getTransactionByHash' ? { error: { code: 1 } } : answer))
  await using p = await s.start()
  expect(await s.call(p, who)).toBe('chain_disputed')
  s.lie(undefined)
  while ((await s.call(p, who)) !== undefined) await s.clock.advance(limits.proofDelayMsMin)
})

test('what was settled by use proves nothing of a payer’s vouchers and trial calls', async () => {
  await using s = await setup()
  const who = await s.metered()
  await using p = await s.start()
  await s.callTimes(p, who, 5)
  await p.settler.settleNow(never)
  await p.mirror.refresh(never)
  const transaction = p.mirror.chargedBy(who.payer)
  await using proofs = createProofs(
    { client: s.client, clock: s.clock, log: s.log, transactionOf: () => transaction },
    { provider: s.provider, market: s.chain.market },
  )
  const said = { spentUsdc: usdc(35n), calls: 5 }
  const signers = [who.payer, trialSigner, zeroAddress]
  for (const signer of signers) proofs.seek({ payer: who.payer, signer }, said)
  // They are looked for one after the other.
  while (proofs.find({ payer: who.payer, signer: zeroAddress }).calls === 0) await setImmediate()
  expect(signers.map((signer) => proofs.find({ payer: who.payer, signer }).calls)).toEqual([0, 0, 5])
  expect(proofs.disputes().map(({ signer }) => signer)).toEqual([who.payer, trialSigner])
})

test('a transaction proves what its sender signed, for this chain, this escrow and this payer, and nothing else', async () => {
  await using s = await setup()
  const who = await s.metered()
  const session = await s.bySession()
  {
    await using p = await s.start()
    await s.callTimes(p, who, 5)
    await s.callTimes(p, session, 4)
  }
  await using p = await s.start()
  const { market } = s.chain
  const read = (of: Who, changes: Partial<Parameters<typeof readClaims>[1]> = {}) => {
    const transaction = p.mirror.chargedBy(of.payer, of.signer) as Hex
    return readClaims(
      s.client,
      { transaction, provider: s.provider, payer: of.payer, market, ...changes },
      never,
    )
  }
  expect(await read(who)).toEqual([{ by: 'settle', amountUsdc: 35n, calls: 5 }])
  expect(await read(session)).toMatchObject([{ by: { signer: session.signer }, amountUsdc: 28n, calls: 4 }])

  expect(await read(who, { payer: session.payer })).toEqual([])
  expect(await read(who, { provider: who.payer })).toEqual([])
  expect(await read(who, { market: { ...market, chainId: 1 } })).toEqual([])
  expect(await read(who, { market: { ...market, escrow: s.chain.usdc } })).toEqual([])
  expect(await read(who, { transaction: pad('0x1') })).toEqual([])

  const told = (change: (transaction: Record<string, string>) => unknown) =>
    s.lie(({ method }, answer) =>
      method === 'eth_getTransactionByHash'
        ? { result: change(answer.result as Record<string, string>) }
        : answer,
    )
  const lies: ((transaction: Record<string, string>) => unknown)[] = [
    (t) => ({ ...t, input: t['input']?.replace('0000000000000023', '0000000000000123') }),
    (t) => ({ ...t, chainId: '0x1' }),
    (t) => ({ ...t, nonce: '0xffffffffffffffff' }),
    (t) => ({ ...t, from: s.provider, r: pad('0x1') }),
    (t) => ({ ...t, v: '0x7', yParity: '0x7' }),
    (t) => ({ ...t, type: '0x0' }),
    (t) => ({ ...t, input: `0x${'00'.repeat(limits.settlementBytesMax + 1)}` }),
    (t) => ({ ...t, input: '0x' }),
    (t) => ({ ...t, accessList: [{ address: s.provider, storageKeys: [] }] }),
    () => 'nonsense',
    () => [null],
  ]
  for (const lie of lies) {
    told(lie)
    expect(await read(who)).toEqual([])
  }
})
