import { setImmediate } from 'node:timers/promises'
import { parseEther, parseTransaction, type TransactionSerializedEIP1559, toHex, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock, type TestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls, usdcCalls } from '../../protocol/chain/calls.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { readBalance } from '../../protocol/chain/escrow.ts'
import { isKnown } from '../../protocol/chain/transaction-fate.ts'
import {
  createTransactionSender,
  type TransactionRecord,
  type TransactionSenderOptions,
  type TransactionStore,
} from '../../protocol/chain/transaction-sender.ts'
import { usdc } from '../../protocol/usdc.ts'
import { openTestChain } from '../support/chain.ts'
import { advanceUntil } from '../support/clock.ts'
import { addressOf, never } from '../support/money.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'

/** A store in memory that can be asked what it was told. */
function createStore(): TransactionStore & {
  readonly saved: TransactionRecord[]
  readonly open: TransactionRecord[]
} {
  const saved: TransactionRecord[] = []
  return {
    saved,
    get open() {
      return saved.filter(({ hash }) => saved.findLast((record) => record.hash === hash)?.state === 'signed')
    },
    async save(record) {
      saved.push(record)
    },
    async readAttempts({ from, nonce }) {
      const last = new Map(saved.map((record) => [record.hash, record]))
      return [...last.values()].filter((record) => record.from === from && record.nonce === nonce)
    },
    async readNextNonce(from) {
      return Math.max(-1, ...saved.filter((record) => record.from === from).map(({ nonce }) => nonce)) + 1
    },
  }
}

async function setup() {
  const chain = await openTestChain()
  const account = await chain.createAccount()
  const clock = createTestClock()
  const store = createStore()
  const log = createTestLog()
  const createSender = (
    open: readonly TransactionRecord[] = [],
    from = account,
    options: Partial<TransactionSenderOptions> = {},
  ) =>
    createTransactionSender(
      { client: chain.rpc, clock, log, store },
      { account: from, chainId: chain.market.chainId, open, pollIntervalMs: 1_000, ...options },
    )
  /** What the next block asks for, whatever the last one asked for. */
  const setBaseFee = (wei: bigint) =>
    chain.client.request({ method: 'hardhat_setNextBlockBaseFeePerGas', params: [toHex(wei)] } as never)
  const token = usdcCalls(chain.usdc)
  const escrow = escrowCalls(chain.escrow)
  return {
    chain,
    account,
    clock,
    log,
    store,
    setBaseFee,
    /** A block that has room for everything, and one for each transaction from then on. */
    async mineCheaply() {
      await setBaseFee(1n)
      await chain.setMining('at once')
    },
    createSender,
    token,
    escrow,
    [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
  }
}

const mintCall = (s: Awaited<ReturnType<typeof setup>>, amount = 1n) =>
  s.token.mint(addressOf(0xf00), usdc(amount))

test('a call is durable before it is sent, mined, and durable as mined', async () => {
  await using s = await setup()
  const receipt = await s.createSender().run(mintCall(s), never)
  expect(s.store.saved.map(({ state, blockNumber }) => [state, blockNumber])).toEqual([
    ['signed', undefined],
    ['mined', receipt.blockNumber],
  ])
  expect(s.store.saved[0]?.hash).toBe(receipt.transactionHash)
})

test('thirty calls at once use thirty nonces and all are mined', async () => {
  await using s = await setup()
  const sender = s.createSender()
  const receipts = await Promise.all(Array.from({ length: 30 }, () => sender.run(mintCall(s), never)))
  expect(new Set(receipts.map(({ transactionHash }) => transactionHash)).size).toBe(30)
  expect(s.store.saved.filter(({ state }) => state === 'signed').map(({ nonce }) => nonce)).toEqual([
    ...Array(30).keys(),
  ])
})

test('what a contract refuses is never signed and comes with its code and a hint', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await sender.run(s.token.mint(s.account.address, usdc(100n)), never)
  const before = s.store.saved.length
  const refused = async (call: Parameters<typeof sender.run>[0]) => {
    const error = await sender.run(call, never).catch((e: unknown) => e)
    return [(error as { code: string }).code, (error as Error).message]
  }
  expect(await refused(s.escrow.withdraw(usdc(5n)))).toEqual([
    'balance_too_low',
    'The account has 0 USDC free in the escrow and needs 0.000005 USDC.',
  ])
  expect(await refused(s.escrow.deposit(usdc(5n)))).toEqual([
    'transaction_failed',
    'The escrow may take 0 USDC from the wallet and needs 0.000005 USDC.',
  ])
  expect((await refused(s.escrow.revoke(addressOf(9), zeroAddress)))[0]).toBe('grant_missing')
  expect((await refused(s.escrow.settle([], toHex(0, { size: 32 }))))[0]).toBe('transaction_failed')
  expect(s.store.saved).toHaveLength(before)
})

test('an account without ether is told that it cannot pay the gas', async () => {
  await using s = await setup()
  const poor = await s.chain.createAccount()
  await s.chain.client.request({ method: 'hardhat_setBalance', params: [poor.address, '0x0'] } as never)
  await expect(s.createSender([], poor).run(mintCall(s), never)).rejects.toMatchObject({
    code: 'balance_too_low',
  })
})

test('a whole way through the escrow: deposit, approve, revoke, withdraw', async () => {
  await using s = await setup()
  const sender = s.createSender()
  const provider = addressOf(0x9)
  const terms = {
    provider,
    signer: zeroAddress,
    priceUsdc: usdc(10n),
    budgetUsdc: usdc(600n),
    expiry: 4_000_000_000,
    noticeHours: 1,
  }
  const calls = [
    s.token.mint(s.account.address, usdc(1_000n)),
    s.token.approve(s.chain.escrow, usdc(1_000n)),
    s.escrow.deposit(usdc(1_000n)),
    s.escrow.approve(terms),
    s.escrow.revoke(provider, zeroAddress),
  ]
  for (const call of calls) await sender.run(call, never)
  const read = () => readBalance(s.chain.rpc, { escrow: s.chain.escrow, account: s.account.address }, never)
  expect(await read()).toBe(400n)
  await expect(sender.run(s.escrow.reclaim(provider, zeroAddress), never)).rejects.toThrow('may settle until')
  await s.chain.wait(3_601)
  await sender.run(s.escrow.reclaim(provider, zeroAddress), never)
  expect(await read()).toBe(1_000n)
  await sender.run(s.escrow.withdraw(usdc(1_000n)), never)
  expect(await read()).toBe(0n)
})

test('while the chain is down nothing new is signed, and the next call gets the same nonce', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.goOffline()
  await expect(sender.run(mintCall(s), never)).rejects.toMatchObject({ code: 'chain_unreachable' })
  expect(s.store.saved).toEqual([])
  await s.chain.goOnline()
  await sender.run(mintCall(s), never)
  expect(s.store.saved[0]?.nonce).toBe(0)
})

test('a record that cannot be kept is not sent', async () => {
  await using s = await setup()
  const { client, store } = {
    client: s.chain.rpc,
    store: {
      save: () => Promise.reject(new Error('disk full')),
      readAttempts: async () => [],
      readNextNonce: async () => 0,
    },
  }
  const options = { account: s.account, chainId: s.chain.market.chainId, open: [], pollIntervalMs: 1_000 }
  const sender = createTransactionSender({ client, clock: s.clock, log: createTestLog(), store }, options)
  await expect(sender.run(mintCall(s), never)).rejects.toThrow('disk full')
  expect(await s.chain.client.getTransactionCount({ address: s.account.address })).toBe(0)
})

test('after a crash between signing and sending, the same bytes are offered again and mined once', async () => {
  await using s = await setup()
  // The store says no more after the signed record, and the chain is gone: this process is as good as dead.
  const dying = s.createSender()
  await s.chain.setMining('by hand')
  const record = await dying.send(mintCall(s), { purpose: 'settle:1' }, never)
  await s.chain.client.request({ method: 'hardhat_dropTransaction', params: [record.hash] } as never)

  const reborn = s.createSender(s.store.open)
  const other = await reborn.send(mintCall(s), { purpose: 'settle:2' }, never)
  expect(other.nonce).toBe(record.nonce + 1)
  // Offered again after some looks; by then blocks come at once, and the second one fits after the first.
  await s.chain.setMining('at once')
  const fates = await advanceUntil(
    s.clock,
    Promise.all([reborn.wait(record, never), reborn.wait(other, never)]),
  )
  expect(fates.map(({ kind }) => kind)).toEqual(['mined', 'mined'])
  expect(s.store.open).toEqual([])
})

test('unknown is not failed: a sent transaction waits through an outage until a block has it', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  await s.chain.goOffline()
  const fate = sender.wait(record, never)
  const looks = Promise.race([fate, advanceLooks(s.clock, 12)])
  expect(await looks).toBe('still waiting')
  await s.chain.goOnline()
  await s.chain.setMining('at once')
  expect((await advanceUntil(s.clock, fate)).kind).toBe('mined')
})

/** Lets so many looks end in vain. */
async function advanceLooks(clock: TestClock, looks: number): Promise<'still waiting'> {
  for (let look = 0; look < looks; ) {
    await setImmediate()
    if (clock.sleepers === 0) continue
    await clock.advance(1_000)
    look += 1
  }
  return 'still waiting'
}

/** Has a block take another transaction than the one that was sent: nothing, to nobody. @returns it */
async function takeNonce({ chain, account }: Awaited<ReturnType<typeof setup>>, sent: TransactionRecord) {
  await chain.client.request({ method: 'hardhat_dropTransaction', params: [sent.hash] } as never)
  await chain.setMining('at once')
  const raw = await account.signTransaction({
    to: addressOf(0xf00),
    value: 1n,
    nonce: sent.nonce,
    gas: 21_000n,
    maxFeePerGas: parseEther('0.0000001'),
    chainId: chain.market.chainId,
    type: 'eip1559',
  })
  const hash = await chain.client.sendRawTransaction({ serializedTransaction: raw })
  return { ...sent, purpose: `fill:${sent.nonce}`, hash, raw }
}

test('a nonce that another program took is a replacement, and a wait that is given up says why', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  const leaving = new AbortController()
  const given = sender.wait(record, leaving.signal)
  leaving.abort(new Error('shutting down'))
  await expect(given).rejects.toThrow('shutting down')

  await takeNonce(s, record)
  expect(await advanceUntil(s.clock, sender.wait(record, never))).toEqual({ kind: 'replaced' })
  expect(s.store.saved.at(-1)?.state).toBe('replaced')
})

test('so is one that was filled with something else of ours', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  await s.store.save(await takeNonce(s, record))
  expect(await advanceUntil(s.clock, sender.wait(record, never))).toEqual({ kind: 'replaced' })
})

test('a server that counts a transaction before it knows its receipt has not lost it', async () => {
  await using s = await setup()
  let hides = true
  await using proxy = await openRpcProxy(s.chain.rpcUrl, {
    falsify({ method }, answer) {
      if (method !== 'eth_getTransactionReceipt' || !hides) return answer
      hides = false
      return { result: null }
    },
  })
  const { chainId } = s.chain.market
  const client = createChainClient({ chainId, rpcUrls: [proxy.url] })
  const sender = createTransactionSender(
    { client, clock: s.clock, log: s.log, store: s.store },
    { account: s.account, chainId, open: [], pollIntervalMs: 1_000 },
  )
  const record = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  expect((await advanceUntil(s.clock, sender.wait(record, never))).kind).toBe('mined')
  expect(hides).toBe(false)
})

test('a transaction whose chain gets five times as dear before its block is mined all the same', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'a' }, never)
  const { baseFeePerGas } = await s.chain.client.getBlock()
  const params = [toHex((baseFeePerGas ?? 0n) * 5n)]
  await s.chain.client.request({ method: 'hardhat_setNextBlockBaseFeePerGas', params } as never)
  await s.chain.mine()
  expect((await sender.look(record, never))?.kind).toBe('mined')
})

test('an account that has just enough for the fee of now offers no more than it has', async () => {
  await using s = await setup()
  const poor = await s.chain.createAccount()
  const sender = s.createSender([], poor)
  const params = [poor.address, toHex(parseEther('0.0004'))]
  await s.chain.client.request({ method: 'hardhat_setBalance', params } as never)
  expect((await sender.run(mintCall(s), never)).status).toBe('success')
})

const gwei = 10n ** 9n
const feesOf = ({ raw }: TransactionRecord) => parseTransaction(raw as TransactionSerializedEIP1559)
const stalling = { stallMs: 5_000 }
const dear = { baseFeeWei: 1_000n * gwei }

type Setup = Awaited<ReturnType<typeof setup>>

/** Makes blocks, a second apart, each `factor` times as dear as the one before, until `isEnough`. */
async function makeBlocks(
  s: Setup,
  { baseFeeWei, factor = 1n }: { baseFeeWei: bigint; factor?: bigint },
  isEnough: () => boolean,
): Promise<void> {
  for (let feeWei = baseFeeWei; !isEnough(); ) {
    await setImmediate()
    if (s.clock.sleepers === 0) continue
    await s.setBaseFee(feeWei)
    feeWei *= factor
    await s.chain.mine()
    await s.clock.advance(1_000)
  }
}

const hasReplaced = ({ log }: Setup) => log.lines.some(({ event }) => event === 'transaction_replaced')

const attemptsOf = ({ store }: Setup) => store.saved.filter(({ state }) => state === 'signed')

test('a transaction that blocks leave out is replaced under its nonce and purpose, an eighth dearer at least, and one attempt is mined', async () => {
  await using s = await setup()
  const sender = s.createSender([], s.account, stalling)
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s, 42n), { purpose: 'settle:1' }, never)
  const later = await sender.send(mintCall(s, 1n), { purpose: 'settle:2' }, never)
  const fates = Promise.all([sender.wait(record, never), sender.wait(later, never)])
  await makeBlocks(s, { ...dear, factor: 2n }, () => attemptsOf(s).length >= 4)
  await s.mineCheaply()
  const [fate] = await advanceUntil(s.clock, fates)

  const attempts = attemptsOf(s).filter(({ nonce }) => nonce === 0)
  expect(attempts.length).toBeGreaterThanOrEqual(3)
  for (const [index, attempt] of attempts.entries()) {
    expect(attempt).toMatchObject({ nonce: 0, purpose: 'settle:1' })
    if (index === 0) continue
    const [before, now] = [feesOf(attempts[index - 1]!), feesOf(attempt)]
    expect(now.data).toBe(before.data)
    for (const name of ['maxFeePerGas', 'maxPriorityFeePerGas'] as const)
      expect(now[name]! * 8n).toBeGreaterThanOrEqual(before[name]! * 9n)
  }
  const states = new Map(s.store.saved.map(({ hash, state }) => [hash, state]))
  expect(attempts.map(({ hash }) => states.get(hash)).sort()).toEqual([
    'mined',
    ...attempts.slice(1).map(() => 'replaced'),
  ])
  const minedHash = fate.kind === 'mined' && fate.receipt.transactionHash
  expect(attempts.find(({ hash }) => states.get(hash) === 'mined')?.hash).toBe(minedHash)
  expect(sender.status().open).toBe(0)
  expect(await s.chain.client.getTransactionCount({ address: s.account.address })).toBe(2)
})

test('whichever attempt a block took, the wait for any of them says so', async () => {
  await using s = await setup()
  const sender = s.createSender([], s.account, stalling)
  await s.chain.setMining('by hand')
  const first = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  const leaving = new AbortController()
  const left = sender.wait(first, leaving.signal).catch(() => 'left')
  await makeBlocks(s, dear, () => hasReplaced(s))
  leaving.abort(new Error('killed'))
  expect(await left).toBe('left')
  const [, second] = attemptsOf(s)
  await s.chain.mine()

  const reborn = s.createSender(s.store.open, s.account, stalling)
  for (const record of [first, second!]) {
    const fate = await advanceUntil(s.clock, reborn.wait(record, never))
    expect(fate).toMatchObject({ kind: 'mined', receipt: { transactionHash: second?.hash } })
  }
  expect(s.store.open).toEqual([])
})

test('every attempt is durable before anybody sees it, and one that cannot be kept is not offered', async () => {
  await using s = await setup()
  await s.chain.setMining('by hand')
  const seen: boolean[] = []
  let isFull = false
  const save = s.store.save
  s.store.save = async (record) => {
    if (isFull) throw new Error('disk full')
    if (record.state === 'signed') seen.push(await isKnown(s.chain.rpc, [record], never))
    await save(record)
  }
  const sender = s.createSender([], s.account, stalling)
  const record = await sender.send(mintCall(s), { purpose: 'a' }, never)
  const fate = sender.wait(record, never)
  isFull = true
  const isTold = () => s.log.lines.some(({ facts }) => String(facts['error']).includes('disk full'))
  await makeBlocks(s, dear, isTold)
  expect(attemptsOf(s)).toHaveLength(1)
  isFull = false
  await makeBlocks(s, dear, () => hasReplaced(s))
  await s.mineCheaply()
  expect((await advanceUntil(s.clock, fate)).kind).toBe('mined')
  expect(seen).toEqual([false, false])
})

test('a chain that stands still is no reason to offer more', async () => {
  await using s = await setup()
  const sender = s.createSender([], s.account, stalling)
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'a' }, never)
  const fate = sender.wait(record, never)
  expect(await Promise.race([fate, advanceLooks(s.clock, 30)])).toBe('still waiting')
  expect(attemptsOf(s)).toHaveLength(1)
  await s.chain.setMining('at once')
  expect((await advanceUntil(s.clock, fate)).kind).toBe('mined')
})

test('a transaction that the pool has dropped is recognised and offered again as it was', async () => {
  await using s = await setup()
  const sender = s.createSender()
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'a' }, never)
  await s.chain.client.request({ method: 'hardhat_dropTransaction', params: [record.hash] } as never)
  const fate = sender.wait(record, never)
  expect(await Promise.race([fate, advanceLooks(s.clock, 6)])).toBe('still waiting')
  expect(s.log.lines).toContainEqual({
    level: 'warn',
    event: 'transaction_dropped',
    facts: { purpose: 'a', hash: record.hash, nonce: 0 },
  })
  await s.chain.setMining('at once')
  expect(await advanceUntil(s.clock, fate)).toMatchObject({
    kind: 'mined',
    receipt: { transactionHash: record.hash },
  })
})

test('a gap below our nonces, left by a transaction of somebody else that is gone, is filled with nothing', async () => {
  await using s = await setup()
  await s.createSender().run(mintCall(s), never)
  await s.chain.setMining('by hand')
  const foreign = await s.createSender().send(mintCall(s), { purpose: 'foreign' }, never)
  s.store.saved.splice(0)
  const sender = s.createSender([], s.account, stalling)
  const record = await sender.send(mintCall(s), { purpose: 'settle:1' }, never)
  expect(record.nonce).toBe(2)
  await s.chain.client.request({ method: 'hardhat_dropTransaction', params: [foreign.hash] } as never)
  const fate = sender.wait(record, never)
  await makeBlocks(s, { baseFeeWei: gwei }, () => attemptsOf(s).length === 2)
  expect(attemptsOf(s)[1]).toMatchObject({ nonce: 1, purpose: 'fill:1' })
  await s.chain.setMining('at once')
  expect((await advanceUntil(s.clock, fate)).kind).toBe('mined')
})

test('above the ceiling nothing is signed; it waits, says so once, and goes on when gas is cheaper', async () => {
  await using s = await setup()
  const sender = s.createSender([], s.account, { gasPriceWeiMax: 50n * gwei })
  await s.chain.setMining('by hand')
  await s.setBaseFee(1_000n * gwei)
  await s.chain.mine()
  const sent = sender.send(mintCall(s), { purpose: 'a' }, never)
  expect(await Promise.race([sent, advanceLooks(s.clock, 3)])).toBe('still waiting')
  expect(s.store.saved).toEqual([])
  expect(sender.status().gasTooDearSinceMs).toBeDefined()
  expect(s.log.lines.filter(({ event }) => event === 'gas_too_dear')).toMatchObject([
    { level: 'warn', facts: { ceiling: '50 gwei' } },
  ])
  await s.setBaseFee(10n * gwei)
  await s.chain.mine()
  const record = await advanceUntil(s.clock, sent)
  expect(feesOf(record).maxFeePerGas).toBeLessThanOrEqual(50n * gwei)
  expect(sender.status().gasTooDearSinceMs).toBeUndefined()
})

test('a replacement never offers more than the ceiling, and says that it cannot', async () => {
  await using s = await setup()
  const sender = s.createSender([], s.account, { ...stalling, gasPriceWeiMax: 30n * gwei })
  await s.chain.setMining('by hand')
  const record = await sender.send(mintCall(s), { purpose: 'a' }, never)
  const fate = sender.wait(record, never)
  await makeBlocks(s, dear, () => s.log.lines.some(({ event }) => event === 'transaction_stalled'))
  for (const attempt of attemptsOf(s)) expect(feesOf(attempt).maxFeePerGas).toBeLessThanOrEqual(30n * gwei)
  await s.mineCheaply()
  expect((await advanceUntil(s.clock, fate)).kind).toBe('mined')
})

test('what a re-org took away is offered again by whoever comes, and its nonce is used for nothing else', async () => {
  await using s = await setup()
  await s.createSender().run(mintCall(s), never)
  const goBack = await s.chain.fork()
  const lost = await s.createSender().send(mintCall(s, 5n), { purpose: 'x402:a' }, never)
  expect((await s.createSender().wait(lost, never)).kind).toBe('mined')
  await goBack()
  await s.chain.mine()

  // A new process knows of nothing that is open.
  const reborn = s.createSender()
  expect(await reborn.look(lost, never)).toBeUndefined()
  await reborn.tend(never)
  expect(await reborn.look(lost, never)).toMatchObject({
    kind: 'mined',
    receipt: { transactionHash: lost.hash },
  })

  const other = await reborn.send(mintCall(s), { purpose: 'x402:b' }, never)
  expect(other.nonce).toBe(lost.nonce + 1)
})
