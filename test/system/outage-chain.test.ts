import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Gateway } from '../../gateway/gateway.ts'
import { callHeaders } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import type { Provider } from '../../provider/provider.ts'
import type { TestProcess } from '../support/child-process.ts'
import { curl } from '../support/curl.ts'
import {
  askUntil,
  callThrough,
  type OutageMarket,
  openCall,
  openOutageMarket,
  priceUsdc,
} from '../support/outage.ts'

/** The chain goes away, and providers die: what was charged is kept, and paid later. */

const signal = new AbortController().signal

let at: OutageMarket
let gateway: Gateway
let cid: string
let alice: Provider

beforeAll(async () => {
  at = await openOutageMarket()
  gateway = await at.startGateway()
  alice = await at.startProvider('alice', gateway)
  cid = await at.deploy('--provider', 'alice', '--timeout', '60000')
  expect((await callAlice()).status).toBe(200)
  await alice.settler.settleNow(signal)
})
afterAll(async () => {
  await alice[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const callAlice = (path = '/answer') => callThrough(gateway, { provider: 'alice', path: `/${cid}${path}` })

async function cutChain(): Promise<void> {
  at.rpc.gateway.cut()
  at.rpc.others.cut()
  // Settling looks at the chain first, so that nobody has to wait for the next look.
  const look = () => alice.settler.settleNow(signal).catch(() => undefined)
  await askUntil(
    async () => look().then(() => alice.chainStatus()),
    ({ lostSinceMs }) => lostSinceMs !== undefined,
  )
}

/** Waits until the gateway has read from the chain where alice is since her last start. */
async function reachAlice(): Promise<void> {
  await askUntil(
    () => callAlice(),
    ({ status }) => status === 200,
  )
}

function restoreChain(): void {
  at.rpc.gateway.restore()
  at.rpc.others.restore()
}

describe('while the chain is away', () => {
  test('calls on known grants go on and say so, and their charges are settled when it is back', async () => {
    const earnedBefore = await at.earnedUsdc('alice')
    expect((await callAlice()).header(callHeaders.chainAge)).toBeUndefined()
    await cutChain()
    onTestFinished(restoreChain)

    const answers = await Promise.all(Array.from({ length: 20 }, () => callAlice()))
    for (const answer of answers) {
      expect(answer.status).toBe(200)
      expect(answer.header(callHeaders.chainAge)).toMatch(/^\d+$/)
    }
    expect(alice.settler.status().unsettledUsdc).toBe(21n * priceUsdc)
    await expect(alice.settler.settleNow(signal)).rejects.toMatchObject({ code: 'chain_unreachable' })
    expect(await at.earnedUsdc('alice')).toBe(earnedBefore)

    restoreChain()
    await askUntil(
      () => alice.settler.settleNow(signal).then(() => alice.settler.status().unsettledUsdc),
      (unsettledUsdc) => unsettledUsdc === 0n,
    )
    expect(await at.earnedUsdc('alice')).toBe(earnedBefore + 21n * priceUsdc)
    const answer = await askUntil(
      () => callAlice(),
      (found) => found.header(callHeaders.chainAge) === undefined,
    )
    expect(answer.status).toBe(200)
  })

  test('the command line says so, and deploys nothing', async () => {
    at.rpc.others.cut()
    onTestFinished(() => at.rpc.others.restore())
    await at.user.run(['init', 'app'])
    for (const line of [['balance'], ['deploy', 'app', '--provider', 'alice']]) {
      const { exitCode, json } = await at.user.run([...line, '--json'])
      expect(exitCode).toBe(1)
      // Where the market is a local one, its chain goes with it.
      expect(json()).toMatchObject({ code: 'market_not_running' })
    }
    const named = ['balance', '--gateway', gateway.url.href, '--rpc', at.rpc.others.url.href, '--json']
    expect((await at.user.run(named)).json()).toMatchObject({ code: 'chain_unreachable' })
    const both = `${at.rpc.others.url.href},${at.rpc.gateway.url.href}`
    const withBoth = ['balance', '--gateway', gateway.url.href, '--rpc', both, '--json']
    const env = { KHACHAPURI_PRIVATE_KEY: at.accounts.developer.privateKey }
    const { address: account } = at.accounts.developer.account
    expect((await at.user.run(withBoth, { env })).json()).toMatchObject({ account })
  })

  test('a provider that stops does not wait for it, and its next start settles', async () => {
    await alice.settler.settleNow(signal)
    const settled = await at.earnedUsdc('alice')
    await cutChain()
    onTestFinished(restoreChain)
    expect((await callAlice()).status).toBe(200)
    await alice[Symbol.asyncDispose]()
    await expect(at.startProvider('alice', gateway)).rejects.toMatchObject({ code: 'chain_unreachable' })

    restoreChain()
    alice = await at.startProvider('alice', gateway)
    await alice.settler.settleNow(signal)
    expect(await at.earnedUsdc('alice')).toBe(settled + priceUsdc)
    await reachAlice()
  })
})

describe('a provider that stops', () => {
  test('finishes the calls in flight, takes no more, and settles what is owed', async () => {
    await alice.settler.settleNow(signal)
    const earnedBefore = await at.earnedUsdc('alice')
    const address = alice.url
    if (!address) throw new Error('alice has an address')
    const slow = await openCall(gateway, { provider: 'alice', path: `/${cid}/lines/20?everyMs=20` }).answered
    expect(slow.statusCode).toBe(200)
    const [, whole] = await Promise.all([alice[Symbol.asyncDispose](), text(slow)])
    expect(whole).toContain('line 19\n')
    const refused = curl({ port: Number(address.port), host: address.host, path: `/${cid}/answer` })
    await expect(refused).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    expect((await callAlice()).problem()).toMatchObject({ status: 502, code: 'provider_unreachable' })
    expect(await at.earnedUsdc('alice')).toBe(earnedBefore + priceUsdc)
    alice = await at.startProvider('alice', gateway)
    await reachAlice()
  })
})

describe('a provider that is killed between calls and settlement', () => {
  const startBob = async (): Promise<TestProcess> => {
    const bob = await at.startKhachapuri(['provider', 'up', '--domain', 'bob', '--json'], 'bob')
    await bob.waitFor('\n')
    return bob
  }

  test('loses none of 60 charges, and settles them once', async () => {
    // The process settles by itself only after a minute.
    expect(limits.settleIntervalMs).toBeGreaterThanOrEqual(60_000)
    const first = await startBob()
    await using _first = first
    const deployed = await at.deploy('--provider', 'bob')
    const call = () => callThrough(gateway, { provider: 'bob', path: `/${deployed}/answer` })
    const answers = await Promise.all(Array.from({ length: 60 }, call))
    expect(answers.map(({ status }) => status)).toEqual(Array(60).fill(200))
    expect(await at.earnedUsdc('bob')).toBe(0n)
    first.signal('SIGKILL')
    expect(await first.ended).toBe('SIGKILL')

    await using second = await startBob()
    const receipt = await callThrough(gateway, {
      provider: 'bob',
      path: `/_/receipts/${answers[59]?.header(callHeaders.call)}`,
    })
    expect(receipt.json()).toMatchObject({ outcome: 'answered', price: priceUsdc.toString() })
    second.signal('SIGTERM')
    expect(await second.ended).toBe(0)
    expect(await at.earnedUsdc('bob')).toBe(60n * priceUsdc)

    await using third = await startBob()
    third.signal('SIGTERM')
    expect(await third.ended).toBe(0)
    expect(await at.earnedUsdc('bob')).toBe(60n * priceUsdc)
    expect((await call()).problem()).toMatchObject({ status: 502, code: 'provider_offline' })
  })
})
