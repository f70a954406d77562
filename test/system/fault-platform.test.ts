import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { callHeaders } from '../../protocol/call.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { usdc } from '../../protocol/usdc.ts'
import { parsePaymentRequired, x402Headers } from '../../protocol/x402.ts'
import type { Provider } from '../../provider/provider.ts'
import { buildZip } from '../support/hostile-zip.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { openRpcProxy, type RpcHooks, type RpcProxy } from '../support/rpc-proxy.ts'
import { publish, publishSpec, readSpec } from '../support/specs.ts'
import {
  noMoney,
  openWaysToPay,
  sumMoney,
  type WayName,
  type WaysToPay,
  wayNames,
} from '../support/ways-to-pay.ts'
import { createWallet, signPayment } from '../support/x402.ts'

/**
 * The other half of KH-10's table: what is wrong is the provider's own. Each fault is a real one, all five ways to pay
 * meet it at once, and the chain says what it cost.
 */

const signal = new AbortController().signal

let at: TestMarket
/** Dave's two ways to the chain, the first of which may lie. */
let rpc: RpcProxy
let honestRpc: RpcProxy
let lie: RpcHooks['falsify']
/** What dave's clock is ahead of everybody's. */
let aheadMs = 0
let dave: Provider
/** Where dave's sandboxes are. */
let sandboxes: string
let ways: WaysToPay
let spec: DeploymentSpec
const cids = { owner: '', caller: '' }

const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs }

const listSandboxes = async () =>
  (await readdir(tmpdir())).filter((name) => name.startsWith(`khp-${process.pid}-`))

beforeAll(async () => {
  at = await openMarket()
  rpc = await openRpcProxy(at.dev.chain.rpcUrl, { falsify: (call, answer) => lie?.(call, answer) ?? answer })
  honestRpc = await openRpcProxy(at.dev.chain.rpcUrl)
  const account = privateKeyToAccount(generatePrivateKey())
  const others = await listSandboxes()
  dave = await at.startProvider('dave', { account, rpcUrls: [rpc.url, honestRpc.url] }, { clock })
  const [folder = ''] = (await listSandboxes()).filter((name) => !others.includes(name))
  sandboxes = join(tmpdir(), folder)
  await approveDave()
  ways = await openWaysToPay(at, { name: 'dave', account })
  const flags = ['--provider', 'dave', '--calls-per-minute', 'none']
  for (const payer of ['owner', 'caller'] as const)
    cids[payer] = (await at.deploy(echoProgram, ...flags, '--payer', payer)).cid
  spec = await readSpec(at, (await at.deploy(echoProgram, '--public')).cid)
})
afterAll(async () => {
  await at[Symbol.asyncDispose]()
  await rpc[Symbol.asyncDispose]()
  await honestRpc[Symbol.asyncDispose]()
})

/** By the developer, unless it is told who. */
async function approveDave(privateKey?: Hex): Promise<void> {
  const line = ['approve', 'dave', '--price', '0.001', '--budget', '1', '--yes', '--json']
  const env = privateKey && { env: { KHACHAPURI_PRIVATE_KEY: privateKey } }
  expect((await at.user.run(line, env)).exitCode).toBe(0)
}

const cidOf = (way: WayName) => cids[ways.all[way].payerChoice]
const allPrices = () => sumMoney(wayNames.map((way) => ways.all[way].price))

const cut = () => {
  for (const way of [rpc, honestRpc]) way.cut()
}
const restore = () => {
  for (const way of [rpc, honestRpc]) way.restore()
}

/** A look that had begun before may still end otherwise. */
async function untilChainIs(state: 'lost' | 'seen'): Promise<void> {
  const isLost = () => dave.chainStatus().lostSinceMs !== undefined
  while (isLost() !== (state === 'lost')) await dave.settler.settleNow(signal).catch(() => undefined)
}

/** Who did not answer when it was looked at is left out for some seconds, and the other one is believed alone. */
async function untilBothAreAsked(): Promise<void> {
  const questions = () =>
    [rpc, honestRpc].map(
      ({ calls }) => calls.filter(({ method }) => method === 'eth_getBlockByNumber').length,
    )
  const before = questions()
  while (questions().some((count, index) => count === before[index])) await dave.settler.settleNow(signal)
}

/** One call in each way, all at once. */
async function callAllWays(path: string, cidFor = cidOf) {
  const calls = wayNames.map(async (way) => {
    const cid = cidFor(way)
    const rawHeaders = await ways.all[way].headers({ cid: cidOf(way) })
    const answer = await at.call({ provider: 'dave', cid, path, rawHeaders })
    return [way, answer] as const
  })
  return Promise.all(calls)
}

async function expectAllPaid(): Promise<void> {
  const moved = await ways.movedBy(async () => {
    for (const [way, { status }] of await callAllWays('/answer')) expect([way, status]).toEqual([way, 200])
  })
  expect(moved).toEqual(allPrices())
}

test('with nothing wrong each way pays its price', expectAllPaid)

const inLogs =
  (change: (logs: object[]) => object[]): NonNullable<RpcHooks['falsify']> =>
  ({ method }, answer) =>
    method === 'eth_getLogs' ? { result: change(answer.result as object[]) } : answer

test.each<[string, NonNullable<RpcHooks['falsify']>]>([
  ['hides what happened', inLogs(() => [])],
  ['gives everybody more', inLogs((logs) => logs.map((log) => ({ ...log, data: `0x${'f'.repeat(512)}` })))],
  [
    'tells it twice, of other blocks',
    inLogs((logs) => [...logs, ...logs.map((log) => ({ ...log, blockNumber: '0x1' }))]),
  ],
])(
  'an RPC server that %s is not believed beside another: each way pays its price, and nobody else pays or is served',
  async (_what, next) => {
    const { account: newcomer, privateKey } = await at.createPayer({ name: 'newcomer' })
    const pass = await at.pass({ payer: newcomer.address, providers: [dave.address] }, newcomer)
    const callAsNewcomer = () => at.call({ provider: 'dave', cid: cids.caller, path: '/answer', pass })
    const moved = await ways.movedBy(async () => {
      await untilBothAreAsked()
      lie = next
      onTestFinished(() => {
        lie = undefined
      })
      await approveDave(privateKey)
      await untilChainIs('lost')
      for (const [way, answer] of await callAllWays('/answer'))
        expect([way, answer.status]).toEqual([way, 200])
      expect((await callAsNewcomer()).problem().code).toBe('grant_missing')
      lie = undefined
      await untilChainIs('seen')
      await at.syncGrants()
      expect((await callAsNewcomer()).status).toBe(200)
    })
    const byNewcomer = { ...noMoney, paid: { newcomer: 500n }, earned: { dave: 500n } }
    expect(moved).toEqual(sumMoney([allPrices(), byNewcomer]))
  },
)

test('an RPC server that makes wallets rich has no program run for nothing', async () => {
  const poor = await createWallet(at.dev, usdc(0n))
  const terms = await at.call({ provider: 'dave', cid: cids.caller })
  const [asked] = parsePaymentRequired(terms.header(x402Headers.required) ?? '')
  const payment = await signPayment(asked!, poor)
  await untilBothAreAsked()
  lie = ({ method }, answer) =>
    method === 'eth_call' ? { result: `0x${'0'.repeat(56)}${'f'.repeat(8)}` } : answer
  onTestFinished(() => {
    lie = undefined
  })
  const moved = await ways.movedBy(async () => {
    const rawHeaders = [x402Headers.signature, payment]
    const answer = await at.call({ provider: 'dave', cid: cids.caller, path: '/answer', rawHeaders })
    expect(answer.problem()).toMatchObject({ status: 503, code: 'chain_disputed' })
    expect(answer.header(callHeaders.call)).toBeUndefined()
  })
  expect(moved).toEqual(noMoney)
})

test('while the chain is away calls that the known grants and credits cover go on, x402 is refused, and all is settled later', async () => {
  const moved = await ways.movedBy(async () => {
    cut()
    onTestFinished(restore)
    await untilChainIs('lost')
    for (const [way, answer] of await callAllWays('/answer')) {
      if (way === 'x402') {
        expect(answer.problem()).toMatchObject({ status: 503, code: 'chain_unreachable' })
        expect(answer.header(callHeaders.call)).toBeUndefined()
        continue
      }
      expect([way, answer.status]).toEqual([way, 200])
      expect(answer.header(callHeaders.chainAge)).toMatch(/^\d+$/)
    }
    restore()
  })
  expect(moved).toEqual(sumMoney(wayNames.flatMap((way) => (way === 'x402' ? [] : ways.all[way].price))))
  await expectAllPaid()
})

const hourMs = 3_600_000

test.each<[string, number, Partial<Record<WayName, string>>]>([
  // Passes and payments hold for minutes, grants for days; credits are spent with a pass.
  ['an hour ahead', hourMs, { pass: 'pass_expired', x402: 'payment_expired', trial: 'pass_expired' }],
  ['an hour behind', -hourMs, { pass: 'pass_invalid', trial: 'pass_invalid' }],
])(
  'a clock that jumps %s refuses what it takes for over or not begun, at no cost; the rest pays its price',
  async (_where, jumpMs, refused) => {
    const moved = await ways.movedBy(async () => {
      aheadMs = jumpMs
      onTestFinished(() => {
        aheadMs = 0
      })
      for (const [way, answer] of await callAllWays('/answer')) {
        const code = refused[way]
        if (code === undefined) expect([way, answer.status]).toEqual([way, 200])
        else expect([way, answer.problem().code]).toEqual([way, code])
      }
      aheadMs = 0
    })
    expect(moved).toEqual(sumMoney(wayNames.flatMap((way) => (refused[way] ? [] : ways.all[way].price))))
    await expectAllPaid()
  },
)

test('how long the chain has been away is told by no clock that jumps', async () => {
  cut()
  onTestFinished(restore)
  await untilChainIs('lost')
  onTestFinished(() => {
    aheadMs = 0
  })
  for (const jumpMs of [-hourMs, 100 * hourMs]) {
    aheadMs = jumpMs
    const answer = await at.call({ provider: 'dave', cid: cids.owner, path: '/answer' })
    expect(answer.header(callHeaders.chainAge)).toMatch(/^\d{1,3}$/)
    expect(answer.status).toBe(200)
  }
  aheadMs = 0
  restore()
  await untilChainIs('seen')
})

// The last, as this provider starts no program any more.
test('a machine that cannot make a sandbox costs nobody anything, and no call is on record', async () => {
  const fresh = new Map<WayName, string>()
  for (const way of wayNames) {
    const zip = buildZip([
      { name: 'index.js', bytes: utf8.encode(`export default { fetch: () => new Response('${way}') }`) },
    ])
    const payer = ways.all[way].payerChoice
    const providers = [dave.address]
    fresh.set(
      way,
      await publishSpec(at, spec, { payer, providers, program: await publish(at, zip), entry: 'index.js' }),
    )
  }
  await rm(sandboxes, { recursive: true })
  const moved = await ways.movedBy(async () => {
    for (const [way, answer] of await callAllWays('/', (one) => fresh.get(one) ?? '')) {
      expect([way, answer.problem().code, answer.status]).toEqual([way, 'sandbox_unavailable', 503])
      expect(answer.header(callHeaders.call)).toBeUndefined()
    }
  })
  expect(moved).toEqual(noMoney)

  // Programs that run already are reached over the connections that stand, and over no new one.
  const movedThen = await ways.movedBy(async () => {
    // Three of each at once: more than there are connections.
    const several = await Promise.all([1, 2, 3].map(() => callAllWays('/wait/100')))
    for (const [way, answer] of [...several.flat(), ...(await callAllWays('/answer'))])
      expect([way, answer.problem().code]).toEqual([way, 'sandbox_unavailable'])
  })
  expect(movedThen).toEqual(noMoney)
})
