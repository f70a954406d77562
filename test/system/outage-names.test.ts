import { encodeFunctionData, type Hex, toHex } from 'viem'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Gateway } from '../../gateway/gateway.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { deployResolverCall, registryCalls, resolverCalls } from '../../protocol/chain/calls.ts'
import { createDevChainTime } from '../../protocol/chain/chain-time.ts'
import { registryAbi } from '../../protocol/chain/contracts.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import { type Name, nameNode, parseName } from '../../protocol/name.ts'
import { registerProvider } from '../../provider/register-provider.ts'
import { openOrigin } from '../support/http-origin.ts'
import { askUntil, callThrough, type OutageMarket, openOutageMarket } from '../support/outage.ts'

/** KH-14: names on a real chain, hostile ones among them, and a chain that goes away. */

const signal = new AbortController().signal
const publicKeyDer = new Uint8Array(32)

let at: OutageMarket
let gateway: Gateway
beforeAll(async () => {
  at = await openOutageMarket()
  gateway = await at.startGateway()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const ask = (provider: string) => callThrough(gateway, { provider, path: '/' })

/** Registers a name of alice's account, and tells what its resolver's address is. */
async function register(name: string, server: string) {
  const { client } = at
  const sender = at.senderOf(at.accounts.alice)
  const { registry, chainId } = at.contracts
  const names = createNameReader({ client, clock: systemClock, log: createTestLog() }, { registry })
  const chainTime = createDevChainTime({ client, clock: systemClock })
  await registerProvider(
    { client, chainTime, names, sender, onProgress: () => undefined },
    { name: parseName(name), chainId, registry, server, publicKeyDer },
    signal,
  )
  const registered = await names.readName(parseName(name), signal)
  if (!registered) throw new Error(`${name} is not registered`)
  return { sender, resolver: registered.resolver }
}

/** Waits until the gateway has heard of all that happened: it hears in order, and of this name last. */
async function letGatewayCatchUp(): Promise<void> {
  await using origin = await openOrigin((_, response) => response.end('last'))
  const last = `last-${origin.port}`
  expect((await ask(last)).status).toBe(404)
  await register(last, origin.url)
  await askUntil(
    () => ask(last),
    ({ status }) => status === 200,
  )
}

/** How often the gateway has read this name from the chain; each reading asks the registry for its resolver once. */
function countReadings(name: Name): number {
  const question = encodeFunctionData({
    abi: registryAbi,
    functionName: 'resolver',
    args: [nameNode(name)],
  })
  return at.rpc.gateway.calls.filter(
    ({ method, params }) => method === 'eth_call' && params.includes(question as Hex),
  ).length
}

describe('a name', () => {
  test('that nobody has is a 404, and asking for it again asks no chain', async () => {
    expect((await ask('nobody')).problem()).toMatchObject({ status: 404, code: 'provider_unknown' })
    for (let i = 0; i < 20; i++) expect((await ask('nobody')).status).toBe(404)
    const question = encodeFunctionData({
      abi: registryAbi,
      functionName: 'owner',
      args: [nameNode(parseName('nobody'))],
    })
    expect(at.rpc.gateway.calls.filter(({ params }) => params.includes(question))).toHaveLength(1)
  })

  test('that somebody registers is found without waiting for the old answer to age', async () => {
    await using origin = await openOrigin((_, response) => response.end('here'))
    expect((await ask('newcomer')).status).toBe(404)
    await register('newcomer', origin.url)
    const answer = await askUntil(
      () => ask('newcomer'),
      ({ status }) => status !== 404,
    )
    expect(answer.text).toBe('here')
  })

  test.each([
    '::garbage',
    'localhost:4000',
    'http://169.254.169.254',
    'http://[fe80::1%25lo]/',
    'file:///etc/passwd',
    'http://user:password@127.0.0.1',
    ' '.repeat(512),
    '',
  ])('whose server is %j is blocked, and the gateway serves the others', async (server) => {
    await using origin = await openOrigin((_, response) => response.end('fine'))
    await register(`bad-${origin.port}`, server)
    await register(`good-${origin.port}`, origin.url)
    expect((await ask(`bad-${origin.port}`)).problem()).toMatchObject({
      status: 502,
      code: 'provider_address_blocked',
    })
    expect((await ask(`good-${origin.port}`)).text).toBe('fine')
  })

  test('whose resolver is no contract, or the gateway itself, is blocked or offline', async () => {
    const { sender } = await register('nothing', '')
    await sender.run(
      registryCalls(at.contracts.registry).setResolver(parseName('nothing'), toHex(0xdead, { size: 20 })),
      signal,
    )
    expect((await ask('nothing')).problem()).toMatchObject({ status: 502, code: 'provider_address_blocked' })
    await register('mirror', `http://localhost:${gateway.port}`)
    expect((await ask('mirror')).problem()).toMatchObject({ status: 502, code: 'provider_offline' })
  })
})

describe('a provider under 1,000 requests', () => {
  test('is read from the chain once, and again when its records or its resolver change', async () => {
    await using first = await openOrigin((_, response) => response.end('first'))
    await using second = await openOrigin((_, response) => response.end('second'))
    await using third = await openOrigin((_, response) => response.end('third'))
    const name = parseName('popular')
    const { sender, resolver } = await register(name, first.url)
    await letGatewayCatchUp()

    const lane = async () => {
      for (let i = 0; i < 20; i++) expect((await ask(name)).text).toBe('first')
    }
    await Promise.all(Array.from({ length: 50 }, lane))
    expect(first.requests()).toBe(1_000)
    expect(countReadings(name)).toBe(1)

    await sender.run(resolverCalls(resolver).setServer(second.url), signal)
    await askUntil(
      () => ask(name),
      ({ text }) => text === 'second',
    )
    expect(countReadings(name)).toBe(2)

    const { contractAddress } = await sender.run(
      deployResolverCall({
        owner: sender.address,
        addr: sender.address,
        server: third.url,
        pubkey: toHex(publicKeyDer),
      }),
      signal,
    )
    await sender.run(registryCalls(at.contracts.registry).setResolver(name, contractAddress ?? '0x'), signal)
    await askUntil(
      () => ask(name),
      ({ text }) => text === 'third',
    )
    expect(countReadings(name)).toBe(3)
  })
})

describe('while the chain is away', () => {
  test('known names go on, new ones get 503, and what changed meanwhile shows when it is back', async () => {
    await using before = await openOrigin((_, response) => response.end('before'))
    await using after = await openOrigin((_, response) => response.end('after'))
    const name = parseName('steady')
    const { sender, resolver } = await register(name, before.url)
    await register('unseen', before.url)
    expect((await ask(name)).text).toBe('before')

    at.rpc.gateway.cut()
    const unseen = await ask('unseen')
    expect(unseen.problem()).toMatchObject({ status: 503, code: 'chain_unreachable', retryable: true })
    expect((await ask(name)).text).toBe('before')
    await sender.run(resolverCalls(resolver).setServer(after.url), signal)
    expect((await ask(name)).header(gatewayHeaders.nameAge)).toBeUndefined()

    at.rpc.gateway.restore()
    await askUntil(
      () => ask(name),
      ({ text }) => text === 'after',
    )
    await askUntil(
      () => ask('unseen'),
      ({ status }) => status === 200,
    )
  })
})
