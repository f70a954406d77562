import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import type { Address, Hash } from 'viem'
import { expect, test } from 'vitest'
import { z } from 'zod'
import type { ProviderAccount } from '../../cli/market/ask-provider.ts'
import type { OpenMarket } from '../../cli/market/open.ts'
import type { ProviderHistory } from '../../cli/operate/provider-history.ts'
import { createDifferences } from '../../cli/statement/differences.ts'
import { createLedgerBooks } from '../../cli/statement/ledger-books.ts'
import { createProviderBooks } from '../../cli/statement/provider-books.ts'
import { type CallBooks, readStatement, type StatementSums } from '../../cli/statement/read-statement.ts'
import { createReceiptSource } from '../../cli/statement/receipt-source.ts'
import type { StatementLine } from '../../cli/statement/statement-line.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { meteredSigner } from '../../protocol/grant.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { chargedReceiptToJson, laneToJson, statementPaths } from '../../protocol/statement.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import type { Ledger } from '../../provider/ledger/ledger.ts'
import { never, randomHex } from '../support/money.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'
import { openSettling } from '../support/settling.ts'

/** Statements over a provider's real ledger and settler on a real chain, after whatever was done. */

type Settling = Awaited<ReturnType<typeof openSettling>>

/** How a provider shows other receipts than it has. */
interface Lies {
  readonly hide?: (callId: string) => boolean
  readonly alter?: (receipt: Receipt) => Receipt
}

/** What the provider's pages show, without HTTP between. */
function accountOf(
  ledger: Ledger,
  payer: Address,
  { hide = () => false, alter = (receipt) => receipt }: Lies = {},
): ProviderAccount {
  return {
    async read(path, query, schema) {
      const after = Number(query['after'] ?? 0)
      const { history } = ledger
      const entries =
        path === statementPaths.lanes
          ? (await history.readLanes({ payer, after })).map(laneToJson)
          : path === statementPaths.proofs
            ? await history.readUsageProofs({
                payer,
                lane: Number(query['lane']),
                after,
              })
            : (await history.readLaneReceipts({ payer, lane: Number(query['lane']), after }))
                .filter(({ receipt }) => !hide(receipt.callId))
                .map((charged) => chargedReceiptToJson({ ...charged, receipt: alter(charged.receipt) }))
      return schema.parse(JSON.parse(JSON.stringify({ entries })))
    },
  }
}

interface Told {
  readonly lines: readonly StatementLine[]
  readonly sums: StatementSums
  /** Why it does not add up; undefined where it does. */
  readonly problem: unknown
  /** Of how many calls it was not shown that they are under a usage root. */
  readonly unproven: number
}

async function tell(
  { chain }: Settling,
  account: Address,
  books: CallBooks,
  withIncome: boolean,
): Promise<Told> {
  const { escrow, usdc: token } = chain
  const at = { client: chain.rpc, market: { contracts: { escrow, usdc: token } } } as unknown as OpenMarket
  const differences = createDifferences()
  const everything = {
    sinceSeconds: undefined,
    fromBlock: 0n,
    isShown: () => true,
    nameOf: (a: Address) => a,
  }
  const scope = { account, withIncome, ...everything }
  const statement = readStatement(at, scope, { books, differences }, { signal: never })
  const lines: StatementLine[] = []
  for (;;) {
    const { done, value } = await statement.next()
    if (!done) lines.push(value)
    else {
      const problem = await Promise.try(() => differences.assertNone()).catch((error: unknown) => error)
      return { lines, sums: value, problem, unproven: 0 }
    }
  }
}

async function tellPayer(
  at: Settling,
  ledger: Ledger,
  payer: Address,
  lies?: Lies,
  account = accountOf(ledger, payer, lies),
): Promise<Told> {
  let unproven = 0
  const source = createReceiptSource(account, { payer, provider: at.provider })
  const books = createProviderBooks(
    at.chain.rpc,
    {
      payer,
      escrow: at.chain.escrow,
      token: at.chain.usdc,
      providers: new Map([[at.provider, { name: 'alice', source }]]),
      nameOf: (address) => address,
      isAsked: () => true,
      onSilent: (_name, error) => {
        throw error
      },
      onUnproven: (_name, calls) => {
        unproven += calls
      },
    },
    never,
  )
  return { ...(await tell(at, payer, books, false)), unproven }
}

async function tellProvider(
  at: Settling,
  { history }: Ledger,
  lies: Partial<ProviderHistory> = {},
): Promise<Told> {
  const books = await createLedgerBooks({
    identity: { provider: at.provider, ...at.chain.market },
    readChargesBetween: history.readChargesBetween,
    findUsageRoot: async (transaction) => (await history.findBatch(transaction))?.usageRoot,
    findPaidCall: history.findPaidCall,
    readAllLanes: (after) => history.readAllLanes({ after }),
    sumPayments: async () => (await history.sumPayments()).amountUsdc,
    ...lies,
    [Symbol.dispose]: () => undefined,
  })
  return tell(at, at.provider, books, true)
}

const sumOf = (lines: readonly StatementLine[], kind: string) =>
  lines.filter((line) => line.kind === kind).reduce((sum, { priceUsdc }) => sum + (priceUsdc ?? 0n), 0n)

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('charge' as const),
      who: fc.nat(1),
      calls: fc.integer({ min: 1, max: 12 }),
      price: fc.bigInt(1n, 10n),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('approve', 'leave', 'withdraw'), who: fc.nat(1) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
)

/** So little that it is often used up, and settlements pay in part. */
const terms = { priceUsdc: 10n, budgetUsdc: 90n, noticeHours: 1 }

test('whatever is charged, settled and ended, in any order and over crashes, statements are what the chain says', async () => {
  const reached = { settled: 0, unsettled: 0 }
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 25 }), async (steps) => {
      await using at = await openSettling()
      const payers = [await at.createPayer(terms), await at.createPayer(terms)]
      const charged = new Map<Address, bigint>()
      let process = await at.start()
      for (const each of steps) {
        const payer = 'who' in each ? (payers[each.who] as Address) : at.provider
        const grant = { provider: at.provider, ...terms }
        try {
          if (each.kind === 'charge') {
            for (let i = 0; i < each.calls; i += 1) {
              await process.charge(payer, 1, each.price)
              charged.set(payer, (charged.get(payer) ?? 0n) + each.price)
            }
          } else if (each.kind === 'settle') await process.settler.settleNow(never)
          else if (each.kind === 'approve') await at.chain.approve(payer, grant)
          else if (each.kind === 'withdraw') {
            const call = { from: payer, to: at.chain.escrow, abi: escrowAbi } as const
            await at.chain.send({ ...call, functionName: 'withdraw', args: [11n] })
          } else if (each.kind === 'leave') {
            await at.chain.revoke(payer, at.provider)
            await at.chain.wait(3_601)
            await at.chain.reclaim(payer, at.provider)
          } else {
            await process.crash()
            process = await at.start()
          }
        } catch (error) {
          // The ledger or the escrow says no: that is a step, too.
          if (!isProtocolError(error) && !/revert/.test(String(error))) throw error
        }
      }
      // What a provider has not seen mined, it cannot show yet: after a crash it settles by itself, beside this.
      const blockNow = () => at.chain.client.getBlockNumber({ cacheTime: 0 })
      const began = await blockNow()
      const open = await process.ledger.batches.readOpen()
      const isOnItsWay = open.some(({ state }) => state === 'batched' || state === 'submitted')
      for (const payer of payers) {
        const { lines, sums, problem, unproven } = await tellPayer(at, process.ledger, payer)
        expect(problem).toBeUndefined()
        if (!isOnItsWay && (await blockNow()) === began) expect(unproven).toBe(0)
        expect(sumOf(lines, 'call')).toBe(sums.spentUsdc)
        expect(sumOf(lines, 'call') + sumOf(lines, 'unsettled')).toBe(charged.get(payer) ?? 0n)
        if (sums.spentUsdc > 0n) reached.settled += 1
        if (sums.unsettledUsdc > 0n) reached.unsettled += 1
      }
      const { lines, sums, problem } = await tellProvider(at, process.ledger)
      expect(problem).toBeUndefined()
      expect(sumOf(lines, 'call')).toBe(sums.earnedUsdc)
      const chargedInAll = [...charged.values()].reduce((total, amount) => total + amount, 0n)
      expect(sumOf(lines, 'call') + sumOf(lines, 'unsettled')).toBe(chargedInAll)
      // A settlement may be under way still: at.earned() would be that of a later block.
      expect(sums.freeUsdc).toBe(sums.earnedUsdc)
      await process.crash()
    }),
    {
      numRuns: 12,
      // The row was skipped: the receipt is under the root of one settlement, and another one paid for it.
      examples: [
        [
          [
            { kind: 'charge', who: 0, calls: 1, price: 1n },
            { kind: 'leave', who: 0 },
            { kind: 'charge', who: 1, calls: 1, price: 1n },
            { kind: 'settle' },
            { kind: 'approve', who: 0 },
            { kind: 'charge', who: 0, calls: 2, price: 1n },
            { kind: 'settle' },
          ],
        ],
      ],
    },
  )
  expect(reached.settled).toBeGreaterThan(0)
  expect(reached.unsettled).toBeGreaterThan(0)
}, 240_000)

test('a call that two settlements paid has a line under each, and its parts are its price', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer({ noticeHours: 1 })
  const before = await at.start()
  const receipts = await before.charge(payer, 5, 7n)
  await before.crash()
  // Nobody settles in time, and what the next grant has does not pay for all.
  await at.chain.revoke(payer, at.provider)
  await at.chain.wait(3_601)
  await at.chain.reclaim(payer, at.provider)
  const grant = { provider: at.provider, priceUsdc: 10n, noticeHours: 1 }
  await at.chain.approve(payer, { ...grant, budgetUsdc: 23n })
  await using process = await at.start()
  await process.settler.settleNow(never)
  const partsOf = ({ lines }: Told) =>
    lines
      .filter(({ call }) => call !== null)
      .map(({ kind, priceUsdc, call }) => [
        kind,
        Number(priceUsdc),
        receipts.findIndex((r) => r.callId === call),
      ])
  const first = [0, 1, 2].map((index) => ['call', 7, index])
  const half = await tellPayer(at, process.ledger, payer)
  expect(partsOf(half)).toEqual([...first, ['call', 2, 3], ['unsettled', 5, 3], ['unsettled', 7, 4]])
  expect([half.problem, half.sums.calls]).toEqual([undefined, 5])

  await at.chain.approve(payer, { ...grant, budgetUsdc: 100n })
  await process.settler.settleNow(never)
  const whole = [...first, ['call', 2, 3], ['call', 5, 3], ['call', 7, 4]]
  for (const told of [await tellPayer(at, process.ledger, payer), await tellProvider(at, process.ledger)]) {
    expect([told.problem, told.unproven]).toEqual([undefined, 0])
    expect(partsOf(told)).toEqual(whole)
    expect(told.sums.calls).toBe(5)
  }
})

test('a receipt that a provider does not show, and a charge without one, are told to the unit', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer()
  await using process = await at.start()
  const [, hidden] = await process.charge(payer, 3, 7n)
  await process.settler.settleNow(never)
  expect((await tellPayer(at, process.ledger, payer)).problem).toBeUndefined()
  const told = await tellPayer(at, process.ledger, payer, {
    hide: (callId) => callId === hidden?.callId,
  })
  expect(told.problem).toMatchObject({
    code: 'statement_differs',
    details: { differences: [{ statedUsdc: '14', chainUsdc: '21' }] },
  })

  await at.chain.unlock(at.provider)
  const consume = { from: at.provider, to: at.chain.escrow, abi: escrowAbi, functionName: 'consume' } as const
  await at.chain.send({ ...consume, args: [payer, 9n] })
  const differs = { details: { differences: [{ statedUsdc: '0', chainUsdc: '9' }] } }
  expect((await tellPayer(at, process.ledger, payer)).problem).toMatchObject(differs)
  expect((await tellProvider(at, process.ledger)).problem).toMatchObject(differs)

  // Other tools took that, so the books have no proof of it until the operator says that it is so. What is charged after it
  // counts from there.
  await expect(process.charge(payer)).rejects.toMatchObject({ code: 'chain_disputed' })
  while (process.proofs.disputes().length === 0) await setImmediate()
  process.proofs.accept({ payer, signer: meteredSigner }, usdc(30n))
  await process.charge(payer, 2, 5n)
  await process.settler.settleNow(never)
  const after = await tellPayer(at, process.ledger, payer)
  expect(after.problem).toMatchObject(differs)
  expect(sumOf(after.lines, 'call')).toBe(31n)

  // Nobody has to keep receipts for ever.
  await at.chain.wait(400 * 86_400)
  expect((await tellPayer(at, process.ledger, payer, { hide: () => true })).problem).toBeUndefined()
  expect((await tellProvider(at, process.ledger)).problem).toBeUndefined()
})

test('a receipt that is not the one that its provider committed to on chain is named', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer()
  await using process = await at.start()
  const [, changed] = await process.charge(payer, 3, 7n)
  await process.settler.settleNow(never)
  const alter = (receipt: Receipt): Receipt =>
    receipt.callId === changed?.callId ? { ...receipt, responseDigest: `0x${'ab'.repeat(32)}` } : receipt
  expect((await tellPayer(at, process.ledger, payer, { alter })).problem).toMatchObject({
    code: 'statement_differs',
    details: {
      differencesCount: 1,
      differences: [{ what: expect.stringContaining(changed?.callId ?? ''), statedUsdc: '7' }],
    },
  })

  // Who shows no way to the root is not believed less, but it is said.
  const forgetful = accountOf(process.ledger, payer)
  const account: ProviderAccount = {
    read: (path, query, schema) =>
      path === statementPaths.proofs
        ? Promise.reject(
            new ProtocolError('not_found', 'There is no such page.', { hint: 'Look elsewhere.' }),
          )
        : forgetful.read(path, query, schema),
  }
  const told = await tellPayer(at, process.ledger, payer, {}, account)
  expect([told.problem, told.unproven]).toEqual([undefined, 3])
})

test('a settlement that a provider’s books do not know, or know otherwise, is told', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer()
  await using process = await at.start()
  await process.charge(payer, 3, 7n)
  await process.settler.settleNow(never)
  const differenceWith = async (root: Hash | undefined) =>
    (await tellProvider(at, process.ledger, { findUsageRoot: async () => root })).problem
  const difference = { statedUsdc: '0', chainUsdc: '21' }
  expect(await differenceWith(undefined)).toMatchObject({
    details: { differences: [{ what: 'a settlement that the ledger does not know', ...difference }] },
  })
  expect(await differenceWith(randomHex())).toMatchObject({
    details: { differences: [{ what: 'another usage root', ...difference }] },
  })
})

test('an event that the server leaves out is told: the sums are held against the storage', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer(terms)
  const call = { from: payer, to: at.chain.escrow, abi: escrowAbi } as const
  await at.chain.send({ ...call, functionName: 'withdraw', args: [11n] })
  const hidden = `0x${(await at.chain.client.getBlockNumber({ cacheTime: 0 })).toString(16)}`
  await using liar = await openRpcProxy(at.chain.rpcUrl, {
    falsify: ({ method }, answer) =>
      method === 'eth_getLogs'
        ? { result: (answer.result as { blockNumber: string }[]).filter((log) => log.blockNumber !== hidden) }
        : answer,
  })
  await using process = await at.start()
  expect((await tellPayer(at, process.ledger, payer)).problem).toBeUndefined()
  const rpc = createChainClient({ chainId: at.chain.market.chainId, rpcUrls: [liar.url] })
  const told = await tellPayer({ ...at, chain: { ...at.chain, rpc } }, process.ledger, payer)
  const [{ statedUsdc, chainUsdc }] = (
    told.problem as { details: { differences: [{ statedUsdc: string; chainUsdc: string }] } }
  ).details.differences
  expect(BigInt(statedUsdc) - BigInt(chainUsdc)).toBe(11n)
})

test('a payment by x402 that is in the books and not on the chain is told, by who was to pay and who was to get it', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer()
  await using process = await at.start()
  const [receipt] = (await process.charge(payer, 1, 7n)) as [Receipt]
  await process.settler.settleNow(never)
  // A transaction that is there, and moved nothing by this nonce.
  const { hash } = (await tellPayer(at, process.ledger, payer)).lines.flatMap(({ kind, transaction }) =>
    kind === 'settlement' && transaction ? { hash: transaction } : [],
  )[0] as { hash: Hash }
  const honest = accountOf(process.ledger, payer)
  const paid = { receipt: { ...receipt, callId: randomHex(), priceUsdc: usdc(5n) }, chargedUsdc: usdc(7n) }
  const payment = { nonce: randomHex(), transaction: hash }
  const account: ProviderAccount = {
    async read(path, query, schema) {
      const page = await honest.read(path, query, z.object({ entries: z.array(z.unknown()) }))
      const more =
        path === statementPaths.receipts ? [chargedReceiptToJson({ id: 99, ...paid, payment })] : []
      return schema.parse({ entries: [...page.entries, ...more] })
    },
  }
  const difference = { statedUsdc: '5', chainUsdc: '0', transaction: hash }
  expect((await tellPayer(at, process.ledger, payer, {}, account)).problem).toMatchObject({
    details: { differences: [difference] },
  })
  const books = { sumPayments: async () => usdc(5n) }
  expect((await tellProvider(at, process.ledger, books)).problem).toMatchObject({
    details: { differences: [{ what: 'paid by x402', statedUsdc: '5', chainUsdc: '0' }] },
  })
})

test('a page begins wherever a settlement did', async () => {
  await using at = await openSettling()
  const payer = await at.createPayer()
  await using process = await at.start()
  const receipts = await process.charge(payer, 60, 7n)
  const { readChargesBetween } = process.ledger.history
  const lane = { payer, signer: '0x0000000000000000000000000000000000000000' as Address, epoch: 3, after: 0 }
  await fc.assert(
    fc.asyncProperty(fc.nat(420), fc.nat(420), async (a, b) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)].map((n) => usdc(BigInt(n))) as [Usdc, Usdc]
      const found = await readChargesBetween({ ...lane, fromUsdc: from, toUsdc: to })
      const expected = receipts.filter((_, i) => 7n * BigInt(i) < to && 7n * BigInt(i + 1) > from)
      expect(found.map(({ receipt }) => receipt.callId)).toEqual(
        from === to ? [] : expected.map(({ callId }) => callId),
      )
    }),
    { numRuns: 60 },
  )
})
