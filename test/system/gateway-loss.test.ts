import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toHex } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import { escrowCalls } from '../../protocol/chain/calls.ts'
import { anyDeployment, signPass } from '../../protocol/pass.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import type { Provider } from '../../provider/provider.ts'
import type { TestProcess } from '../support/child-process.ts'
import { freePort } from '../support/free-port.ts'
import { askUntil, callThrough, type OutageMarket, openCall, openOutageMarket } from '../support/outage.ts'
import { signVoucherToken } from '../support/ways-to-pay.ts'

/** KH-10: a gateway that dies in the middle of a call is nobody's cost, whoever pays; a caller who leaves still pays. */

const signal = new AbortController().signal

let at: OutageMarket
let gateway: TestProcess
let place: {
  readonly port: number
  readonly domain: string
  readonly tunnel: string
  readonly peers: string[]
}
let bob: Provider
const cids = { owner: '', caller: '' }

async function startGateway(port: number): Promise<void> {
  gateway = await at.startKhachapuri(
    ['gateway', 'up', '--port', String(port), '--allow-private', '--json'],
    'deployer',
  )
  await gateway.waitFor('\n')
  place = JSON.parse(gateway.stdout())
}

beforeAll(async () => {
  at = await openOutageMarket()
  await at.announce(new URL('http://localhost:1'))
  await startGateway(await freePort())
  await at.announce(new URL(`http://localhost:${place.port}`))
  bob = await at.startProvider('bob', { port: place.port, info: place })
  for (const payer of ['owner', 'caller'] as const)
    cids[payer] = await at.deploy('--provider', 'bob', '--timeout', '60000', '--payer', payer)
})
afterAll(async () => {
  await bob[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const readReceipt = (callId: unknown) =>
  askUntil(
    () => callThrough(place, { provider: 'bob', path: `/_/receipts/${callId}` }),
    ({ status }) => status === 200,
  ).then((answer) => answer.json())

/** The developer, who owns what is called, has granted bob something for each way to pay. */
const ways = {
  owner: { payer: 'owner', headers: async () => [] },
  pass: { payer: 'caller', headers: signDevelopersPass },
  voucher: { payer: 'caller', headers: signDevelopersVoucher },
} as const

async function signDevelopersPass(): Promise<string[]> {
  const { account } = at.accounts.developer
  const nowSeconds = Math.floor(Date.now() / 1000)
  const pass = {
    payer: account.address,
    providers: [bob.address],
    deployment: anyDeployment,
    maxPricePerCall: usdc(500n),
    maxSpend: usdc(500n),
    validAfter: nowSeconds - 60,
    validBefore: nowSeconds + 600,
    id: toHex(randomBytes(32)),
  }
  return ['authorization', `Bearer ${await signPass(pass, account, at.contracts)}`]
}

async function signDevelopersVoucher(): Promise<string[]> {
  const { account } = at.accounts.developer
  const sender = at.senderOf(at.accounts.developer)
  const grant = escrowCalls(at.contracts.escrow).approve({
    provider: bob.address,
    signer: account.address,
    priceUsdc: usdc(500n),
    budgetUsdc: parseUsdc('1'),
    expiry: 2 ** 32 - 1,
    noticeHours: 48,
  })
  await sender.run(grant, signal)
  await lookAtChain()
  const voucher = {
    payer: account.address,
    provider: bob.address,
    maxAmount: usdc(500n),
    maxCalls: 1,
    epoch: 0,
  }
  return [voucherHeader, await signVoucherToken(voucher, account, at.contracts)]
}

async function lookAtChain(): Promise<void> {
  const blockNumber = await at.client.getBlockNumber({ cacheTime: 0 })
  while (bob.chainStatus().blockNumber < blockNumber) await bob.settler.settleNow(signal)
}

async function settledUsdc(): Promise<bigint> {
  await bob.settler.settleNow(signal)
  await lookAtChain()
  expect(bob.settler.status().unsettledUsdc).toBe(0n)
  return at.earnedUsdc('bob')
}

async function beginCall(payer: 'owner' | 'caller', rawHeaders: readonly string[]) {
  const path = `/${cids[payer]}/lines/1000000?everyMs=1`
  const call = openCall(place, { provider: 'bob', path, rawHeaders })
  call.outgoing.end()
  const answer = await call.answered
  await once(answer, 'data')
  answer.on('error', () => undefined)
  return { ...call, answer, callId: answer.headers[callHeaders.call] }
}

test.each(Object.keys(ways) as (keyof typeof ways)[])(
  'a gateway that is killed in the middle of a call costs nobody; the same money then pays for leaving one, by %s',
  async (way) => {
    const { payer } = ways[way]
    const headers = await ways[way].headers()
    const before = await settledUsdc()
    const { answer, callId } = await beginCall(payer, headers)
    const broken = new Promise((resolve) => answer.once('close', resolve))
    gateway.signal('SIGKILL')
    await broken
    await startGateway(place.port)
    expect(await readReceipt(callId)).toMatchObject({ outcome: 'platform_fault', status: 502, price: '0' })
    expect(await settledUsdc()).toBe(before)

    const left = await beginCall(payer, headers)
    left.outgoing.destroy()
    expect(await readReceipt(left.callId)).toMatchObject({
      outcome: 'caller_gone',
      status: 499,
      price: '500',
    })
    expect(await settledUsdc()).toBe(before + 500n)
  },
)
