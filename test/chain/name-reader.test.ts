import { type Address, createPublicClient, encodeDeployData, type Hex, http } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { registryAbi, resolverAbi, resolverBytecode } from '../../protocol/chain/contracts.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { type Name, type NameChange, nameNode, parseName } from '../../protocol/name.ts'
import { deployRegistry, openContractsOnChain, registerOnChain } from '../support/contracts-on-chain.ts'

const owner: Address = '0x00000000000000000000000000000000000000A1'
const account: Address = '0x00000000000000000000000000000000000000a2'
const alice = parseName('alice')

async function setup() {
  const chain = await openContractsOnChain()
  await chain.unlock(owner)
  const registry = await deployRegistry(chain)
  const clock = createTestClock()
  const deps = { client: chain.client, clock, log: createTestLog() }
  const reader = createNameReader(deps, { registry, pollIntervalMs: 1_000 })
  return {
    ...chain,
    registry,
    clock,
    reader,
    read: (name: Name) => reader.readName(name, new AbortController().signal),
    deployResolver: (server: string, pubkey: Hex = '0x1234') =>
      chain.deploy(
        encodeDeployData({
          abi: resolverAbi,
          bytecode: resolverBytecode,
          args: [owner, account, server, pubkey],
        }),
      ),
    register: (name: Name, resolver: Address) => registerOnChain(chain, { registry, name, owner, resolver }),
  }
}

test('a registered name gives what its resolver says, checksummed, at one block', async () => {
  await using s = await setup()
  expect(await s.read(alice)).toBeUndefined()
  const resolver = await s.deployResolver('https://alice.example')
  await s.register(alice, resolver)
  expect(await s.read(alice)).toMatchObject({
    name: 'alice',
    owner,
    address: '0x00000000000000000000000000000000000000A2',
    server: 'https://alice.example',
    publicKey: Buffer.from('1234', 'hex'),
    blockNumber: await s.client.getBlockNumber(),
  })
})

test('a name with content is a deployment’s, with its providers; its events are told, and clearing makes it a provider’s', async () => {
  await using s = await setup()
  const thumbs = parseName('thumbs')
  const node = nameNode(thumbs)
  const resolver = await s.deployResolver('https://alice.example')
  await s.register(thumbs, resolver)
  await s.register(alice, resolver)
  const contenthash = '0xe30101551220000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'
  const changes: NameChange[] = []
  await s.read(thumbs)
  await using _ = s.reader.watchNames((change) => changes.push(change))
  const asleep = async () => {
    while (s.clock.sleepers === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  const calls = [
    ['setContenthash', [node, contenthash]],
    ['setText', [node, 'providers', 'alice,bob']],
    ['clearRecords', [node]],
  ] as const
  for (const [functionName, args] of calls) {
    await asleep()
    await s.send({ from: owner, to: resolver, abi: resolverAbi, functionName, args: [...args] })
    await s.clock.advance(1_000)
    await asleep()
    expect(changes.splice(0)).toEqual([{ kind: 'resolver', resolver: (await s.read(alice))?.resolver }])
    if (functionName !== 'setText') continue
    expect(await s.read(thumbs)).toEqual({
      kind: 'deployment',
      name: 'thumbs',
      owner,
      resolver: (await s.read(alice))?.resolver,
      contenthash: Buffer.from(contenthash.slice(2), 'hex'),
      providers: 'alice,bob',
      blockNumber: await s.client.getBlockNumber(),
    })
  }
  // The resolver is that of both names; what has a node belongs to one of them.
  expect(await s.read(alice)).toMatchObject({ kind: 'provider', server: 'https://alice.example' })
  expect(await s.read(thumbs)).toMatchObject({ kind: 'provider' })
})

/** Creation code of a contract that runs `code` whatever it is asked. */
function contractOf(code: string): Hex {
  const length = (code.length / 2).toString(16).padStart(2, '0')
  return `0x60${length}600c60003960${length}6000f3${code}`
}

test.each([
  ['has no code', ''],
  ['reverts', '60006000fd'],
  ['burns all gas', '5b600056'],
  ['answers nothing', '60006000f3'],
  ['answers half a word', '60106000f3'],
  ['answers a hundred kilobytes', '620186a06000f3'],
  ['answers ten megabytes', '629896806000f3'],
  [
    'points beyond its answer',
    '7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff60005260406000f3',
  ],
  ['answers zero', '60606000f3'],
])('a resolver that %s harms nobody but its owner', async (_, code) => {
  await using s = await setup()
  const resolver = code === '' ? account : await s.deploy(contractOf(code))
  await s.register(alice, resolver)
  await expect(s.read(alice)).rejects.toMatchObject({ code: 'provider_address_blocked' })
})

test('a chain that is away is told as such', async () => {
  await using s = await setup()
  // Port 1 of this machine: nobody listens there, and nobody else may.
  const client = createPublicClient({ transport: http('http://127.0.0.1:1', { retryCount: 0 }) })
  const reader = createNameReader({ client, clock: s.clock, log: createTestLog() }, { registry: s.registry })
  const reading = reader.readName(alice, new AbortController().signal)
  await expect(reading).rejects.toMatchObject({ code: 'chain_unreachable' })
})

test('changes of names and of resolvers that were read are told; afterwards silence', async () => {
  await using s = await setup()
  const first = await s.deployResolver('https://one.example')
  await s.register(alice, first)
  await s.read(alice)
  const changes: NameChange[] = []
  let changed = Promise.withResolvers<void>()
  const watch = s.reader.watchNames((change) => {
    changes.push(change)
    changed.resolve()
  })
  const next = async () => {
    await s.clock.advance(1_000)
    await changed.promise
    changed = Promise.withResolvers()
  }
  // The first look only finds out where now is.
  while (s.clock.sleepers === 0) await new Promise((resolve) => setImmediate(resolve))

  await s.send({
    from: owner,
    to: first,
    abi: resolverAbi,
    functionName: 'setServer',
    args: ['https://two.example'],
  })
  await next()
  expect(changes.splice(0)).toEqual([{ kind: 'resolver', resolver: (await s.read(alice))?.resolver }])

  while (s.clock.sleepers === 0) await new Promise((resolve) => setImmediate(resolve))
  const second = await s.deployResolver('https://three.example')
  await s.send({
    from: owner,
    to: s.registry,
    abi: registryAbi,
    functionName: 'setResolver',
    args: [nameNode(alice), second],
  })
  await next()
  expect(changes.splice(0)).toEqual([{ kind: 'name', node: nameNode(alice) }])
  await watch[Symbol.asyncDispose]()
  expect(s.clock.sleepers).toBe(0)
})
