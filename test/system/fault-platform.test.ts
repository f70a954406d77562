import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import type { Provider } from '../../provider/provider.ts'
import { buildZip } from '../support/hostile-zip.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { openRpcProxy, type RpcProxy } from '../support/rpc-proxy.ts'
import { publish, publishSpec, readSpec } from '../support/specs.ts'
import {
  noMoney,
  openWaysToPay,
  sumMoney,
  type WayName,
  type WaysToPay,
  wayNames,
} from '../support/ways-to-pay.ts'

/**
 * The other half of KH-10's table: what is wrong is the provider's own. Each fault is a real one, all five ways to pay
 * meet it at once, and the chain says what it cost.
 */

const signal = new AbortController().signal

let at: TestMarket
let rpc: RpcProxy
let dave: Provider
/** Where dave's sandboxes are. */
let sandboxes: string
let ways: WaysToPay
let spec: DeploymentSpec
const cids = { owner: '', caller: '' }

const listSandboxes = async () =>
  (await readdir(tmpdir())).filter((name) => name.startsWith(`khp-${process.pid}-`))

beforeAll(async () => {
  at = await openMarket()
  rpc = await openRpcProxy(at.dev.chain.rpcUrl)
  const account = privateKeyToAccount(generatePrivateKey())
  const others = await listSandboxes()
  dave = await at.startProvider('dave', { account, rpcUrls: [rpc.url] })
  const [folder = ''] = (await listSandboxes()).filter((name) => !others.includes(name))
  sandboxes = join(tmpdir(), folder)
  const approved = ['approve', 'dave', '--price', '0.001', '--budget', '1', '--yes', '--json']
  expect((await at.user.run(approved)).exitCode).toBe(0)
  ways = await openWaysToPay(at, { name: 'dave', account })
  const flags = ['--provider', 'dave', '--calls-per-minute', 'none']
  for (const payer of ['owner', 'caller'] as const)
    cids[payer] = (await at.deploy(echoProgram, ...flags, '--payer', payer)).cid
  spec = await readSpec(at, (await at.deploy(echoProgram, '--public')).cid)
}, 60_000)
afterAll(async () => {
  await at[Symbol.asyncDispose]()
  await rpc[Symbol.asyncDispose]()
})

const cidOf = (way: WayName) => cids[ways.all[way].payerChoice]
const allPrices = () => sumMoney(wayNames.map((way) => ways.all[way].price))

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

test('while the chain is away calls that the known grants and credits cover go on, x402 is refused, and all is settled later', async () => {
  const moved = await ways.movedBy(async () => {
    await rpc.cut()
    onTestFinished(() => rpc.restore())
    // A look that had begun before may still end well.
    while (dave.chainStatus().lostSinceMs === undefined)
      await dave.settler.settleNow(signal).catch(() => undefined)
    for (const [way, answer] of await callAllWays('/answer')) {
      if (way === 'x402') {
        expect(answer.problem()).toMatchObject({ status: 503, code: 'chain_unreachable' })
        expect(answer.header(callHeaders.call)).toBeUndefined()
        continue
      }
      expect([way, answer.status]).toEqual([way, 200])
      expect(answer.header(callHeaders.chainAge)).toMatch(/^\d+$/)
    }
    await rpc.restore()
  })
  expect(moved).toEqual(sumMoney(wayNames.flatMap((way) => (way === 'x402' ? [] : ways.all[way].price))))
  await expectAllPaid()
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
