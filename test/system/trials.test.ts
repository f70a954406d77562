import { join } from 'node:path'
import type { Address } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MarketAccount } from '../../devnet/market.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { usdc } from '../../protocol/usdc.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** KH-17: trial calls, from the command line of the provider to the 402 after the last one. */

let at: TestMarket
let deployed: Deployed
let alice: { readonly env: Readonly<Record<string, string>> }
beforeAll(async () => {
  at = await openMarket()
  deployed = await at.deploy(echoProgram, '--payer', 'caller')
  alice = { env: { KHACHAPURI_PRIVATE_KEY: at.dev.accounts.alice.privateKey } }
  // The program starts with the first call.
  await at.call({ cid: deployed.cid, pass: await at.pass() })
})
afterAll(() => at[Symbol.asyncDispose]())

/** Alice gives so many calls to somebody who has the least of all amounts in the escrow, and no grant. */
async function createGuest(name: string, calls: number): Promise<MarketAccount> {
  const guest = await at.createPayer({ name, depositedUsdc: usdc(1n) })
  await grant(guest, calls)
  return guest
}

async function grant({ account }: MarketAccount, calls: number): Promise<void> {
  const granted = await at.user.run(
    ['credits', 'grant', account.address, String(calls), '--yes', '--json'],
    alice,
  )
  expect([granted.exitCode, granted.json()]).toMatchObject([0, { calls }])
  await at.syncGrants()
}

/** What the pass may spend is nothing: it only says who it is. */
const passOf = ({ account }: MarketAccount) =>
  at.pass({ payer: account.address, maxPricePerCall: usdc(0n), maxSpend: usdc(0n) }, account)

const creditsOf = (user: Address) =>
  at.dev.client.readContract({
    address: at.dev.contracts.escrow,
    abi: escrowAbi,
    functionName: 'creditsOf',
    args: [at.dev.providers.alice.address, user],
  })

test('five trial calls are answered, the sixth is a 402; nobody’s money moves, and nobody can withdraw any', async () => {
  const guest = await createGuest('guest', 5)
  const { address } = guest.account
  const pass = await passOf(guest)
  const costs = await at.costsOf(async () => {
    for (let call = 0; call < 5; call += 1) {
      const answer = await at.call({ cid: deployed.cid, pass })
      expect([answer.status, answer.header('khachapuri-price')]).toEqual([200, '0'])
      const receipt = await at.call({ path: `/_/receipts/${answer.header('khachapuri-call')}` })
      expect(receipt.json()).toMatchObject({ payer: address, price: '0', outcome: 'answered' })
    }
    const sixth = await at.call({ cid: deployed.cid, pass })
    expect(sixth.status).toBe(402)
    expect(sixth.problem()).toMatchObject({
      code: 'credits_exhausted',
      payer: address,
      provider: at.dev.providers.alice.address,
      granted: 5,
      used: 5,
      price: '500',
      hint: expect.stringContaining('khachapuri approve'),
      pay: expect.arrayContaining([expect.objectContaining({ way: 'pass' })]),
    })
  })
  expect(costs).toEqual(nothing)
  expect(await creditsOf(address)).toEqual({ granted: 5n, used: 5n })

  const env = { KHACHAPURI_PRIVATE_KEY: guest.privateKey }
  for (const who of [{ env }, alice]) {
    const { json } = await at.user.run(['balance', '--json'], who)
    const { balanceUsdc } = json<{ balanceUsdc: string }>()
    const more = `${BigInt(balanceUsdc) + 1n}`.padStart(7, '0').replace(/(.{6})$/, '.$1')
    const withdrawn = await at.user.run(['withdraw', more, '--yes', '--json'], who)
    expect([withdrawn.exitCode, withdrawn.json()]).toMatchObject([1, { code: 'balance_too_low' }])
  }
  const listed = await at.user.run(['credits', 'list', '--json'], { env })
  expect(listed.json()).toMatchObject({ given: [], received: [{ granted: 5, used: 5 }] })
  // Compared with the provider's books to the last unit: what cost nothing stands there, too.
  const statement = await at.user.run(['statement', '--provider', 'alice', '--json'], { env })
  const { lines, spentUsdc } = statement.json<{ lines: { kind: string }[]; spentUsdc: string }>()
  expect([statement.exitCode, spentUsdc]).toEqual([0, '0'])
  expect(lines.filter(({ kind }) => kind === 'call')).toMatchObject(Array(5).fill({ priceUsdc: '0' }))
  const own = await at.user.run(['provider', 'statement', '--dir', join(at.dir, 'alice'), '--json'])
  expect(own.exitCode).toBe(0)
})

test('of six calls at once on five credits exactly five are answered', async () => {
  const guest = await createGuest('six', 5)
  const pass = await passOf(guest)
  const costs = await at.costsOf(async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => at.call({ cid: deployed.cid, pass })))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 200, 402])
  })
  expect(costs).toEqual(nothing)
  expect(await creditsOf(guest.account.address)).toEqual({ granted: 5n, used: 5n })
})

test('a call that fails uses no credit, and one that is repeated by its key uses one', async () => {
  const guest = await createGuest('careful', 2)
  const pass = await passOf(guest)
  const crashed = await at.call({ cid: deployed.cid, path: '/throw', pass })
  expect(crashed.problem().code).toBe('program_crashed')
  const same = { cid: deployed.cid, path: '/instance', method: 'POST', body: 'same', pass }
  const rawHeaders = ['idempotency-key', 'once']
  const texts = [await at.call({ ...same, rawHeaders }), await at.call({ ...same, rawHeaders })]
  expect(texts[1]?.text).toBe(texts[0]?.text)
  expect(texts[1]?.header('khachapuri-replayed')).toBe('true')
  expect((await at.call({ cid: deployed.cid, pass })).status).toBe(200)
  expect((await at.call({ cid: deployed.cid, pass })).problem().code).toBe('credits_exhausted')
  expect((await at.call({ ...same, rawHeaders })).header('khachapuri-replayed')).toBe('true')
})

test('credits are for one provider; a grant goes before them, and more credits go on', async () => {
  const guest = await createGuest('staying', 1)
  const pass = await passOf(guest)
  expect((await at.call({ provider: 'bob', cid: deployed.cid, pass })).status).not.toBe(200)
  expect((await at.call({ cid: deployed.cid, pass })).status).toBe(200)
  expect((await at.call({ cid: deployed.cid, pass })).problem().code).toBe('credits_exhausted')
  await grant(guest, 1)
  expect((await at.call({ cid: deployed.cid, pass })).status).toBe(200)

  const grants = [
    { provider: at.dev.providers.alice.address, priceUsdc: usdc(500n), budgetUsdc: usdc(1_000n) },
  ]
  const payer = await at.createPayer({ name: 'both', grants })
  await grant(payer, 5)
  const paying = await at.pass({ payer: payer.account.address }, payer.account)
  const costs = await at.costsOf(() => at.call({ cid: deployed.cid, pass: paying }))
  expect(costs).toEqual({ paid: { both: 500n }, earned: { alice: 500n } })
  expect(await creditsOf(payer.account.address)).toEqual({ granted: 5n, used: 0n })
})

test('a pass for trial calls can be taken back like any other', async () => {
  const guest = await createGuest('regretting', 5)
  const env = { KHACHAPURI_PRIVATE_KEY: guest.privateKey }
  const create = 'pass create --provider alice --max-price 0 --max-spend 0 --json'.split(' ')
  const { token, id } = (await at.user.run(create, { env })).json<{ token: string; id: string }>()
  expect((await at.call({ cid: deployed.cid, pass: token })).status).toBe(200)
  expect((await at.user.run(['pass', 'revoke', id], { env })).exitCode).toBe(0)
  expect((await at.call({ cid: deployed.cid, pass: token })).problem().code).toBe('pass_revoked')
  expect((await at.call({ cid: deployed.cid, pass: await passOf(guest) })).status).toBe(200)
})

test('nobody makes trial calls in somebody else’s name', async () => {
  const guest = await createGuest('robbed', 1)
  const { payer } = at.dev.accounts
  const forged = await at.pass({ payer: guest.account.address }, payer.account)
  expect((await at.call({ cid: deployed.cid, pass: forged })).problem().code).toBe('pass_invalid')
  const naming = ['x-payer', guest.account.address]
  expect((await at.call({ cid: deployed.cid, rawHeaders: naming })).problem().code).toBe('payment_required')
  expect((await at.call({ cid: deployed.cid, pass: await passOf(guest) })).status).toBe(200)
})
