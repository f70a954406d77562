import { PassThrough } from 'node:stream'
import { createTestClient, http } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MarketAccount } from '../../devnet/market.ts'
import { readBalance } from '../../protocol/chain/escrow.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import type { TestProcess } from '../support/child-process.ts'
import { type Deployed, echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { startProviderProcess } from '../support/market-process.ts'
import { walletOf } from '../support/x402.ts'

/** KH-9: leaving is no way to have calls for nothing, and nobody is needed to leave. The provider is a process that dies. */

const price = 500n
const depositedUsdc = parseUsdc('10')
const budgetUsdc = parseUsdc('1')
const noticeHours = 48

const privateKey = generatePrivateKey()
const dave = privateKeyToAccount(privateKey).address
const never = new AbortController().signal

let at: TestMarket
let deployed: Deployed
let provider: TestProcess
const start = () => startProviderProcess(at, { name: 'dave', privateKey })

beforeAll(async () => {
  at = await openMarket()
  provider = await start()
  deployed = await at.deploy(echoProgram, '--provider', 'dave', '--payer', 'caller')
})
afterAll(async () => {
  await provider[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const freeOf = (account: `0x${string}`) =>
  readBalance(at.dev.client, { escrow: at.market.escrow, account }, never)

/** A payer with 10 USDC, one of it for dave, and ten calls behind it. */
async function createCaller(name: string): Promise<MarketAccount> {
  const grants = [{ provider: dave, priceUsdc: usdc(price), budgetUsdc }]
  const payer = await at.createPayer({ name, depositedUsdc, grants })
  const pass = await at.pass({ payer: payer.account.address, providers: [dave] }, payer.account)
  const call = () => at.call({ provider: 'dave', cid: deployed.cid, pass })
  await untilGrantIsSeen(pass)
  for (let more = 0; more < 9; more += 1) expect((await call()).status).toBe(200)
  return payer
}

/** The provider looks at the chain by itself. Makes one call. */
async function untilGrantIsSeen(pass: string): Promise<void> {
  const call = () => at.call({ provider: 'dave', cid: deployed.cid, pass })
  let first = await call()
  while (first.status === 402 && first.problem().code === 'grant_missing') {
    first = await call()
  }
  expect(first.status, first.text).toBe(200)
}

/** The payer's own command line. */
const runAs = (payer: MarketAccount, line: string) =>
  at.user.run([...line.split(' '), '--yes', '--json'], { env: { KHACHAPURI_PRIVATE_KEY: payer.privateKey } })

async function kill(): Promise<void> {
  provider.signal('SIGKILL')
  expect(await provider.ended).toBe('SIGKILL')
}

/** Ends the grant, and takes home all that is not reserved. */
async function leave(payer: MarketAccount): Promise<void> {
  expect((await runAs(payer, 'revoke dave')).exitCode).toBe(0)
  expect((await runAs(payer, 'withdraw all')).exitCode).toBe(0)
  expect(await walletOf(at.dev, payer.account.address)).toBe(depositedUsdc - budgetUsdc)
  expect(await freeOf(payer.account.address)).toBe(0n)
}

test('who is asked to stop ends the calls that it has, sends others away with a time to come back, and exits in peace', async () => {
  const grants = [{ provider: dave, priceUsdc: usdc(price), budgetUsdc }]
  const payer = await at.createPayer({ name: 'patient', depositedUsdc, grants })
  const pass = await at.pass({ payer: payer.account.address, providers: [dave] }, payer.account)
  const body = new PassThrough()
  const begun = Promise.withResolvers<void>()
  const onData = () => begun.resolve()
  await untilGrantIsSeen(pass)
  const before = await freeOf(dave)
  const running = at.call({ provider: 'dave', cid: deployed.cid, pass, path: '/body', body, onData })
  body.write('begun ')
  await begun.promise

  provider.signal('SIGTERM')
  let other = await at.call({ provider: 'dave', cid: deployed.cid, pass })
  while (other.status === 200) {
    other = await at.call({ provider: 'dave', cid: deployed.cid, pass })
  }
  expect(other.problem()).toMatchObject({ status: 503, code: 'provider_stopping' })
  expect(other.header('retry-after')).toBe(String(limits.stoppingRetryAfterSeconds))
  body.end('and ended')
  expect((await running).text).toBe('begun and ended')
  expect(await provider.ended).toBe(0)
  // What was answered is settled before the end.
  expect(await freeOf(dave)).toBeGreaterThanOrEqual(before + price)
  provider = await start()
})

test('ten calls are paid within the notice, though their payer left at once; then the payer alone has the rest, though the provider is dead', async () => {
  const paid = await createCaller('paid')
  const before = await freeOf(dave)
  await kill()
  await leave(paid)
  expect((await runAs(paid, 'reclaim dave')).json()).toMatchObject({ code: 'transaction_failed' })
  expect(await freeOf(dave)).toBe(before)

  // Back within the notice, it has what it is owed.
  provider = await start()
  provider.signal('SIGTERM')
  expect(await provider.ended).toBe(0)
  expect(await freeOf(dave)).toBe(before + 10n * price)

  provider = await start()
  const unpaid = await createCaller('unpaid')
  await kill()
  await leave(unpaid)

  const chain = createTestClient({ mode: 'hardhat', transport: http(at.dev.chain.rpcUrl.href) })
  await chain.increaseTime({ seconds: noticeHours * 3600 + 60 })
  await chain.mine({ blocks: 1 })
  // What a provider has not settled by then, it has lost.
  for (const [payer, costsUsdc] of [
    [paid, 10n * price],
    [unpaid, 0n],
  ] as const) {
    expect((await runAs(payer, 'reclaim dave')).exitCode).toBe(0)
    expect((await runAs(payer, 'withdraw all')).exitCode).toBe(0)
    expect(await walletOf(at.dev, payer.account.address)).toBe(depositedUsdc - costsUsdc)
  }
  expect(await freeOf(dave)).toBe(before + 10n * price)
})
