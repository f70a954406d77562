import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MarketAccount } from '../../devnet/market.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { usdc } from '../../protocol/usdc.ts'
import { parsePaymentRequired } from '../../protocol/x402.ts'
import type { Provider } from '../../provider/provider.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** KH-7 and KH-8: prices against caps, and many payers in few transactions. Alice asks 80, Carol 120. */

const price = { alice: 80n, carol: 120n }

let at: TestMarket
let carol: Provider
let deployed: Deployed
beforeAll(async () => {
  at = await openMarket({ priceUsdc: usdc(price.alice) })
  carol = await at.startProvider('carol', { priceUsdc: usdc(price.carol) })
  const flags = [
    '--provider',
    'alice',
    '--provider',
    'carol',
    '--payer',
    'caller',
    '--calls-per-minute',
    'none',
  ]
  deployed = await at.deploy(echoProgram, ...flags)
})
afterAll(() => at[Symbol.asyncDispose]())

const passOf = ({ account }: MarketAccount) =>
  at.pass(
    {
      payer: account.address,
      providers: [at.dev.providers.alice.address, carol.address],
      maxPricePerCall: usdc(10_000n),
      maxSpend: usdc(1_000_000n),
    },
    account,
  )

/** A payer whose grants for both have this cap and this budget. */
const createPayer = (name: string, { cap, budget }: { cap: bigint; budget: bigint }) =>
  at.createPayer({
    name,
    grants: [at.dev.providers.alice, carol].map(({ address }) => ({
      provider: address,
      priceUsdc: usdc(cap),
      budgetUsdc: usdc(budget),
    })),
  })

test('a cap of 100 pays a price of 80 with 80, and a price of 120 not at all; a new grant then pays 120', async () => {
  const payer = await createPayer('capped', { cap: 100n, budget: 10_000n })
  const pass = await passOf(payer)
  const cheap = await at.costsOf(async () => {
    const answer = await at.call({ cid: deployed.cid, pass })
    expect([answer.status, answer.header('khachapuri-price')]).toEqual([200, '80'])
  })
  expect(cheap).toEqual({ paid: { capped: 80n }, earned: { alice: 80n } })

  const dear = await at.costsOf(async () => {
    const answer = await at.call({ provider: 'carol', cid: deployed.cid, pass })
    expect(answer.status).toBe(402)
    expect(answer.problem()).toMatchObject({
      code: 'price_above_cap',
      price: '120',
      cap: '100',
      asset: 'USDC',
      provider: carol.address,
      ...at.market,
      hint: expect.stringContaining('khachapuri approve'),
      pay: [
        {
          way: 'pass',
          commands: expect.arrayContaining([expect.stringContaining('approve carol --price 0.00012')]),
        },
        { way: 'voucher', header: expect.stringContaining('Khachapuri-Voucher: kv1.') },
        {
          way: 'grant',
          commands: expect.arrayContaining([expect.stringContaining('approve carol --price 0.00012')]),
        },
        { way: 'credits' },
        { way: 'x402' },
      ],
    })
    expect(parsePaymentRequired(answer.header('payment-required') ?? '')).toMatchObject([
      { payTo: carol.address, amountUsdc: price.carol },
    ])
  })
  expect(dear).toEqual(nothing)

  const env = { KHACHAPURI_PRIVATE_KEY: payer.privateKey }
  const approve = ['approve', 'carol', '--price', '0.00012', '--budget', '0.01', '--yes']
  const approved = await at.user.run(approve, { env })
  expect([approved.exitCode, approved.stderr]).toEqual([0, expect.stringContaining('0.00012 USDC per call')])
  await at.syncGrants()
  const afterwards = await at.costsOf(async () => {
    const answer = await at.call({ provider: 'carol', cid: deployed.cid, pass })
    expect([answer.status, answer.header('khachapuri-price')]).toEqual([200, '120'])
  })
  expect(afterwards).toEqual({ paid: { capped: 120n }, earned: { carol: 120n } })
})

test('a grant pays to its last call, counts calls in flight, and goes on when it is topped up', async () => {
  const payer = await createPayer('small', { cap: 100n, budget: 250n })
  const pass = await passOf(payer)
  const costs = await at.costsOf(async () => {
    const answers = await Promise.all(Array.from({ length: 7 }, () => at.call({ cid: deployed.cid, pass })))
    const refused = answers.filter(({ status }) => status !== 200).map((answer) => answer.problem())
    expect(refused).toHaveLength(4)
    for (const problem of refused)
      expect(problem).toMatchObject({ status: 402, code: 'grant_too_low', left: '10', price: '80' })
  })
  expect(costs).toEqual({ paid: { small: 240n }, earned: { alice: 240n } })
  const env = { KHACHAPURI_PRIVATE_KEY: payer.privateKey }
  await at.user.run('approve alice --price 0.0001 --budget 0.0001 --yes'.split(' '), { env })
  await at.syncGrants()
  expect((await at.call({ cid: deployed.cid, pass })).status).toBe(200)
  expect((await at.call({ cid: deployed.cid, pass })).problem().code).toBe('grant_too_low')
})

test('a grant that was revoked pays for no further call, and for all that were made before', async () => {
  const payer = await createPayer('leaving', { cap: 100n, budget: 8_000n })
  const pass = await passOf(payer)
  const env = { KHACHAPURI_PRIVATE_KEY: payer.privateKey }
  const costs = await at.costsOf(async () => {
    for (let call = 0; call < 10; call += 1)
      expect((await at.call({ cid: deployed.cid, pass })).status).toBe(200)
    expect((await at.user.run(['revoke', 'alice', '--yes'], { env })).exitCode).toBe(0)
    const { exitCode, json } = await at.user.run(['withdraw', '9', '--yes', '--json'], { env })
    expect([exitCode, json()]).toMatchObject([0, {}])
    await at.syncGrants()
    expect((await at.call({ cid: deployed.cid, pass })).problem().code).toBe('grant_expired')
  })
  // Nine of its own went back to its wallet; the provider has what it earned all the same.
  expect(costs).toEqual({ paid: { leaving: 9_000_000n + 800n }, earned: { alice: 800n } })
})

test('200 calls at once of five payers are 200 answers, and one transaction settles them', async () => {
  const names = ['ada', 'ben', 'cleo', 'dan', 'eve']
  const payers = await Promise.all(names.map((name) => createPayer(name, { cap: 100n, budget: 100_000n })))
  const passes = await Promise.all(payers.map(passOf))
  // A program takes 64 calls at a time, and says so to the others: here are four, with a process each.
  const flags = ['--provider', 'alice', '--payer', 'caller', '--calls-per-minute', 'none']
  const cids: string[] = []
  for (let n = 0; n < 4; n += 1)
    cids.push((await at.deploy(echoProgram, ...flags, '--params', `{"n":${n}}`)).cid)
  await at.settle()
  const { client, contracts, providers } = at.dev
  const fromBlock = (await client.getBlockNumber({ cacheTime: 0 })) + 1n
  const costs = await at.costsOf(async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        at.call({ cid: cids[i % cids.length]!, pass: passes[i % passes.length]! }),
      ),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(answers.map((answer) => answer.header('khachapuri-call'))).size).toBe(200)
  })
  expect(costs).toEqual({
    paid: Object.fromEntries(names.map((name) => [name, 40n * price.alice])),
    earned: { alice: 200n * price.alice },
  })
  const settled = { address: contracts.escrow, abi: escrowAbi, eventName: 'BatchSettled' } as const
  const batches = await client.getContractEvents({
    ...settled,
    args: { provider: providers.alice.address },
    fromBlock,
  })
  expect(batches.map(({ args }) => args.paid)).toEqual([200n * price.alice])
})
