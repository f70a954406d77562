import type { Address } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MarketAccount } from '../../devnet/market.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { readBalance, readGrant } from '../../protocol/chain/escrow.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import type { TestProcess } from '../support/child-process.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { startProviderProcess } from '../support/market-process.ts'

/** KH-8: 500 calls at once of 20 payers, at a provider that is killed before it has settled any of them. */

const price = 500n
const payerCount = 20
const callCount = 500
/** A program takes 64 calls at a time, and says so to the others. */
const programCount = 10

const privateKey = generatePrivateKey()
const dave = privateKeyToAccount(privateKey).address
const never = new AbortController().signal

let at: TestMarket
let provider: TestProcess
const cids: string[] = []
const payers: MarketAccount[] = []
const start = () => startProviderProcess(at, { name: 'dave', privateKey })

beforeAll(async () => {
  at = await openMarket()
  const first = await start()
  const flags = ['--provider', 'dave', '--payer', 'caller', '--calls-per-minute', 'none']
  for (let n = 0; n < programCount; n += 1)
    cids.push((await at.deploy(echoProgram, ...flags, '--params', `{"n":${n}}`)).cid)
  const grants = [{ provider: dave, priceUsdc: usdc(price), budgetUsdc: parseUsdc('1') }]
  const names = Array.from({ length: payerCount }, (_, n) => `payer ${n}`)
  payers.push(...(await Promise.all(names.map((name) => at.createPayer({ name, grants })))))
  // A fresh one has a whole minute until it settles by itself.
  expect(limits.settleIntervalMs).toBeGreaterThanOrEqual(60_000)
  first.signal('SIGTERM')
  expect(await first.ended).toBe(0)
  provider = await start()
}, 180_000)
afterAll(async () => {
  await provider[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const passOf = ({ account }: MarketAccount) =>
  at.pass({ payer: account.address, providers: [dave], maxSpend: parseUsdc('1') }, account)

const spentBy = async (payer: Address) =>
  (await readGrant(at.dev.client, at.market.escrow, { payer, provider: dave }, never))?.spentUsdc

const earned = () => readBalance(at.dev.client, { escrow: at.market.escrow, account: dave }, never)

const escrowEvents = () => ({ address: at.market.escrow, abi: escrowAbi, fromBlock: 0n }) as const
const readBatches = () =>
  at.dev.client.getContractEvents({
    ...escrowEvents(),
    eventName: 'BatchSettled',
    args: { provider: dave },
  })

test('500 calls of 20 payers at once are 500 answers; after a kill -9 at most 5 transactions settle exactly them', async () => {
  const passes = await Promise.all(payers.map(passOf))
  // Programs start with their first call; each payer makes half of these.
  for (const [index, cid] of cids.entries()) {
    for (const pass of [passes[2 * index], passes[2 * index + 1]])
      expect((await at.call({ provider: 'dave', cid, pass: pass! })).status).toBe(200)
  }
  const answers = await Promise.all(
    Array.from({ length: callCount }, (_, call) =>
      at.call({
        provider: 'dave',
        cid: cids[call % programCount]!,
        path: `/answer?body=${call}`,
        pass: passes[call % payerCount]!,
      }),
    ),
  )
  expect(answers.filter(({ status }) => status !== 200).map(({ text }) => text)).toEqual([])
  expect(answers.map(({ text }) => text)).toEqual(Array.from({ length: callCount }, (_, call) => `${call}`))
  expect(new Set(answers.map((answer) => answer.header('khachapuri-call'))).size).toBe(callCount)

  expect(await earned()).toBe(0n)
  provider.signal('SIGKILL')
  expect(await provider.ended).toBe('SIGKILL')
  const before = provider.output()
  provider = await start()
  provider.signal('SIGTERM')
  expect(await provider.ended).toBe(0)

  const callsEach = BigInt(callCount / payerCount + 1)
  for (const { account } of payers) expect(await spentBy(account.address)).toBe(callsEach * price)
  const batches = await readBatches()
  expect(batches.length).toBeLessThanOrEqual(5)
  const total = BigInt(callCount + payerCount) * price
  expect(batches.reduce((sum, { args }) => sum + (args.paid ?? 0n), 0n)).toBe(total)
  expect(await earned()).toBe(total)
  const skipped = { ...escrowEvents(), eventName: 'Skipped' } as const
  expect(await at.dev.client.getContractEvents(skipped)).toEqual([])
  expect((before + provider.output()).toLowerCase()).not.toContain('nonce')
})
