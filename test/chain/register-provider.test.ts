import { createTestClient, http, type PublicClient } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDevChain, type DevChain } from '../../devnet/chain.ts'
import { type Contracts, createSender, deployContracts, endowNames } from '../../devnet/contracts.ts'
import { createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { registryCalls } from '../../protocol/chain/calls.ts'
import { createDevChainTime } from '../../protocol/chain/chain-time.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { readExpiry } from '../../protocol/chain/registry.ts'
import { parseName } from '../../protocol/name.ts'
import { registrationRules } from '../../protocol/registration.ts'
import { keepName } from '../../provider/keep-name.ts'
import { registerProvider } from '../../provider/register-provider.ts'
import { openRpcProxy } from '../support/rpc-proxy.ts'

const signal = new AbortController().signal
const log = createTestLog()

let chain: DevChain
let client: PublicClient
let contracts: Contracts
const newSender = async () => {
  const account = privateKeyToAccount(generatePrivateKey())
  await chain.fund(account.address)
  return createSender({ client, clock: systemClock, log }, account, chain.chainId)
}
beforeAll(async () => {
  // Years pass here: nothing of it may depend on everybody's clock.
  chain = await createDevChain({ port: 0, secondsBehind: 5 * 365 * 86_400 })
  client = createChainClient({ chainId: chain.chainId, rpcUrls: [chain.rpcUrl] })
  contracts = await deployContracts(await newSender(), chain.chainId, signal)
})
afterAll(() => chain[Symbol.asyncDispose]())

const pass = async (seconds: number) => {
  const dev = createTestClient({ mode: 'hardhat', transport: http(chain.rpcUrl.href) })
  await dev.increaseTime({ seconds })
  await dev.mine({ blocks: 1 })
}
const register = (
  sender: Awaited<ReturnType<typeof newSender>>,
  name: string,
  server = 'https://a.example',
) => {
  const { registry, chainId } = contracts
  return registerProvider(
    {
      client,
      chainTime: createDevChainTime({ client, clock: systemClock }),
      names: createNameReader({ client, clock: systemClock, log }, { registry }),
      sender,
      onProgress: () => undefined,
    },
    { name: parseName(name), chainId, registry, server, publicKeyDer: new Uint8Array([1]) },
    signal,
  )
}

test('a name is renewed while its provider runs; where that fails somebody is told, and it is tried again', async () => {
  const sender = await newSender()
  await endowNames(sender, contracts, { account: sender.address }, signal)
  await register(sender, 'lasting')
  const key = { registry: contracts.registry, name: parseName('lasting') }
  const expiry = await readExpiry(client, key, signal)
  await using rpc = await openRpcProxy(chain.rpcUrl)
  const clock = createTestClock(expiry * 1_000)
  const told = createTestLog()
  const throughProxy = createChainClient({ chainId: chain.chainId, rpcUrls: [rpc.url] })
  await using _keeper = keepName(
    { client: throughProxy, sender, clock, log: told },
    { ...key, intervalMs: 1_000 },
  )
  const look = async (event: string) => {
    const before = told.lines.length
    await clock.advance(1_000)
    while (!told.lines.slice(before).some((line) => line.event === event))
      await new Promise((resolve) => setImmediate(resolve))
  }

  rpc.cut()
  await look('name_not_renewed')
  expect(told.lines.at(-1)).toMatchObject({
    level: 'error',
    facts: { name: 'lasting', error: 'chain_unreachable' },
  })
  rpc.restore()
  const { timestamp } = await client.getBlock()
  await pass(expiry - Number(timestamp) - 60)
  await look('name_renewed')
  expect(await readExpiry(client, key, signal)).toBe(expiry + 365 * 86_400)
  // Known to last for long now.
  rpc.cut()
  await look('name_not_looked_at')
  expect(told.lines.at(-1)).toMatchObject({ level: 'warn' })
})

describe('a registration', () => {
  test('is refused before it costs anything where the bond is not there, or the name is none', async () => {
    const sender = await newSender()
    await expect(register(sender, 'alice')).rejects.toMatchObject({
      code: 'balance_too_low',
      message: expect.stringContaining('a bond of 5 USDC'),
    })
    for (const name of ['ab', 'xn--80ak6aa92e'])
      await expect(register(sender, name)).rejects.toMatchObject({ code: 'name_malformed' })
    expect(await client.getTransactionCount({ address: sender.address })).toBe(0)
  })

  test('is made once, corrected where something changed, renewed in good time, and nobody else’s', async () => {
    const sender = await newSender()
    await endowNames(sender, contracts, { account: sender.address }, signal)
    expect(await register(sender, 'alice')).toEqual([
      'make a resolver',
      'commit to a name',
      `let ${contracts.registry} take 5 USDC`,
      'register alice',
    ])
    expect(await register(sender, 'alice')).toEqual([])
    expect(await register(sender, 'alice', 'https://b.example')).toEqual([
      'set the server to https://b.example',
    ])
    await expect(register(await newSender(), 'alice')).rejects.toMatchObject({ code: 'name_taken' })

    const key = { registry: contracts.registry, name: parseName('alice') }
    const expiry = await readExpiry(client, key, signal)
    const { timestamp } = await client.getBlock()
    await pass(expiry - Number(timestamp) - registrationRules.durationMin - 60)
    expect(await register(sender, 'alice', 'https://b.example')).toEqual([])
    await pass(120)
    expect(await register(sender, 'alice', 'https://b.example')).toEqual(['renew alice'])
    expect(await readExpiry(client, key, signal)).toBe(expiry + 365 * 86_400)

    // In grace records of the registry wait for the renewal.
    await pass(366 * 86_400 + registrationRules.durationMin)
    expect(await register(sender, 'alice', 'https://c.example')).toEqual([
      'renew alice',
      'set the server to https://c.example',
    ])
  })

  test('of a name that was given back waits for its rest, and says until when', async () => {
    const [sender, next] = [await newSender(), await newSender()]
    for (const { address } of [sender, next])
      await endowNames(sender, contracts, { account: address }, signal)
    await register(sender, 'resting')
    await sender.run(registryCalls(contracts.registry).unregister(parseName('resting')), signal)
    await expect(register(next, 'resting')).rejects.toMatchObject({
      code: 'name_taken',
      message: expect.stringMatching(/nobody's until 20\d\d-/),
    })
    expect(await client.getTransactionCount({ address: next.address })).toBe(0)
    await pass(registrationRules.quarantine)
    expect(await register(next, 'resting')).toContain('register resting')
  })
})

test('the clock of a development chain is moved, but never ahead of everybody’s: the rest is waited for', async () => {
  await using young = await createDevChain({ port: 0, secondsBehind: 100 })
  const youngClient = createChainClient({ chainId: young.chainId, rpcUrls: [young.rpcUrl] })
  const now = async () => Number((await youngClient.getBlock()).timestamp)
  const startedAt = await now()
  const clock = createTestClock((startedAt + 100) * 1_000)
  const time = createDevChainTime({ client: youngClient, clock })
  await time.waitUntil(startedAt + 60, signal)
  expect(await now()).toBeGreaterThanOrEqual(startedAt + 60)
  expect(await now()).toBeLessThanOrEqual(startedAt + 100)

  const waiting = time.waitUntil(startedAt + 160, signal)
  expect(clock.sleepers).toBe(1)
  await clock.advance(60_000)
  await waiting
  expect(await now()).toBeGreaterThanOrEqual(startedAt + 160)
})
