import { type Address, encodeDeployData, getAddress, hexToBytes, parseAbi, toCoinType } from 'viem'
import { getEnsAddress, getEnsResolver, getEnsText, normalize } from 'viem/ens'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import {
  registryAbi,
  resolverAbi,
  resolverBytecode,
  universalResolverAbi,
  universalResolverBytecode,
} from '../../protocol/chain/contracts.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { formatContenthash, parseContenthash } from '../../protocol/ipfs/contenthash.ts'
import { type Name, nameNode, parseName } from '../../protocol/name.ts'
import { registrationRules } from '../../protocol/registration.ts'
import {
  type ContractsOnChain,
  deployRegistry,
  openContractsOnChain,
  registerOnChain,
} from '../support/contracts-on-chain.ts'

/** viem's ENS actions, unchanged, on names of this network. */

const owner: Address = '0x00000000000000000000000000000000000000A1'
const account: Address = '0x00000000000000000000000000000000000000a2'
const alice = parseName('alice')
const thumbs = parseName('thumbs')
const cid = cidOfRawDigest(sha256(utf8.encode('a deployment')))

let chain: ContractsOnChain
let registry: Address
let resolver: Address
let at: { readonly universalResolverAddress: Address }
beforeAll(async () => {
  chain = await openContractsOnChain()
  await chain.unlock(owner)
  registry = await deployRegistry(chain)
  const universalResolverAddress = await chain.deploy(
    encodeDeployData({ abi: universalResolverAbi, bytecode: universalResolverBytecode, args: [registry] }),
  )
  at = { universalResolverAddress }
  resolver = await chain.deploy(
    encodeDeployData({
      abi: resolverAbi,
      bytecode: resolverBytecode,
      args: [owner, account, 'https://alice.example', '0x1234'],
    }),
  )
  for (const name of [alice, thumbs]) await registerOnChain(chain, { registry, name, owner, resolver })
  await setText(alice, 'url', 'https://alice.example')
  await setText(thumbs, 'providers', 'alice,bob')
  await chain.send({
    from: owner,
    to: resolver,
    abi: resolverAbi,
    functionName: 'setContenthash',
    args: [nameNode(thumbs), formatContenthash(cid)],
  })
})
afterAll(() => chain[Symbol.asyncDispose]())

const setText = (name: Name, key: string, value: string) =>
  chain.send({
    from: owner,
    to: resolver,
    abi: resolverAbi,
    functionName: 'setText',
    args: [nameNode(name), key, value],
  })
const point = (name: Name, to: Address) =>
  chain.send({
    from: owner,
    to: registry,
    abi: registryAbi,
    functionName: 'setResolver',
    args: [nameNode(name), to],
  })

describe('a provider', () => {
  const name = normalize(alice)

  test('has a resolver, an account and texts', async () => {
    expect(await getEnsResolver(chain.client, { ...at, name })).toBe(getAddress(resolver))
    expect(await getEnsAddress(chain.client, { ...at, name, strict: true })).toBe(
      '0x00000000000000000000000000000000000000A2',
    )
    expect(await getEnsText(chain.client, { ...at, name, key: 'url', strict: true })).toBe(
      'https://alice.example',
    )
    expect(await getEnsText(chain.client, { ...at, name, key: 'avatar' })).toBeNull()
  })

  test('has its account on Ethereum and on its chain, and none elsewhere', async () => {
    const here = toCoinType(await chain.client.getChainId())
    for (const coinType of [60n, here]) {
      expect(await getEnsAddress(chain.client, { ...at, name, coinType })).toBe(account.toLowerCase())
    }
    expect(await getEnsAddress(chain.client, { ...at, name, coinType: toCoinType(8_453) })).toBeNull()
  })
})

test("a deployment's name says who serves it and what it is", async () => {
  const name = normalize(thumbs)
  expect(await getEnsText(chain.client, { ...at, name, key: 'providers' })).toBe('alice,bob')
  const hash = await chain.client.readContract({
    address: await getEnsResolver(chain.client, { ...at, name }),
    abi: parseAbi(['function contenthash(bytes32 node) view returns (bytes)']),
    functionName: 'contenthash',
    args: [nameNode(thumbs)],
  })
  expect(parseContenthash(hexToBytes(hash))?.toString()).toBe(cid.toString())
})

describe('nothing is read of', () => {
  test.each(['nobody', 'www.alice', 'eth'])('%s', async (name) => {
    expect(await getEnsAddress(chain.client, { ...at, name })).toBeNull()
    expect(await getEnsText(chain.client, { ...at, name, key: 'url' })).toBeNull()
    await expect(getEnsAddress(chain.client, { ...at, name, strict: true })).rejects.toThrow(
      'ResolverNotFound',
    )
  })

  test('a name whose resolver is no contract, or knows no records', async () => {
    const name = parseName('pointless')
    await registerOnChain(chain, { registry, name, owner, resolver: account })
    expect(await getEnsAddress(chain.client, { ...at, name })).toBeNull()
    await point(name, chain.usdc)
    expect(await getEnsAddress(chain.client, { ...at, name })).toBeNull()
    await point(name, resolver)
    expect(await getEnsAddress(chain.client, { ...at, name })).not.toBeNull()
  })

  test('a name that has lapsed', async () => {
    const name = parseName('lapsing')
    await registerOnChain(chain, { registry, name, owner, resolver })
    await chain.wait(registrationRules.durationMin)
    // In grace it resolves as before.
    expect(await getEnsAddress(chain.client, { ...at, name })).not.toBeNull()
    await chain.wait(registrationRules.grace)
    expect(await getEnsAddress(chain.client, { ...at, name })).toBeNull()
  })
})
