import { generateKeyPairSync } from 'node:crypto'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { createTestClock } from '../../protocol/base/clock.ts'
import { type DeploymentDraft, formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { type ProviderName, parseName } from '../../protocol/name.ts'
import { parseSealKey, sealSpec } from '../../protocol/seal.ts'
import { createServingReader, parseServing, selectServers } from './find-servers.ts'

const owner = privateKeyToAccount(generatePrivateKey())
const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
const signal = new AbortController().signal

function createProvider(name: string): ProviderName {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { address } = privateKeyToAccount(generatePrivateKey())
  return {
    kind: 'provider',
    name: parseName(name),
    owner: address,
    resolver: address,
    address,
    server: '',
    publicKey: publicKey.export({ format: 'der', type: 'spki' }),
    blockNumber: 1n,
  }
}

function publicSpec(providers: DeploymentDraft['providers']): Promise<Uint8Array> {
  const draft: DeploymentDraft = {
    version: 1,
    chainId: 31_337,
    escrow: getAddress(owner.address),
    program: 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
    runtime: 'js',
    entry: 'index.js',
    params: {},
    env: {},
    limits: { timeoutMs: 1_000, memoryMiB: 64, egress: 'none' },
    providers,
    payer: 'any',
    policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
    terms: null,
    owner: owner.address,
    createdAt: 1_700_000_000,
  }
  return signDeployment(draft, owner).then(formatDeployment)
}

test('a public spec is for its providers, or for anybody; a sealed one for whose keys open it', async () => {
  const [alice, bob] = [createProvider('alice'), createProvider('bob')]
  const broken = { ...createProvider('broken'), publicKey: utf8.encode('::garbage') }
  const all = [alice, broken, bob]
  const namesOf = async (spec: Uint8Array) =>
    (await selectServers(parseServing(spec), all)).map(({ name }) => name)
  expect(await namesOf(await publicSpec([bob.address]))).toEqual(['bob'])
  expect(await namesOf(await publicSpec([]))).toEqual(['alice', 'broken', 'bob'])
  expect(await namesOf(await publicSpec([owner.address]))).toEqual([])
  const sealed = await sealSpec(await publicSpec([alice.address]), [await parseSealKey(alice.publicKey)])
  expect(await namesOf(sealed)).toEqual(['alice'])
  for (const bytes of [utf8.encode(''), utf8.encode('{}'), new Uint8Array(limits.sealedSpecBytesMax + 1)])
    expect(() => parseServing(bytes)).toThrow(expect.objectContaining({ code: 'deployment_invalid' }))
})

test('a spec is read once; one that nobody has is looked for again after a while; trouble is not remembered', async () => {
  const clock = createTestClock()
  const spec = await publicSpec([])
  let reads = 0
  let answer: () => Promise<Uint8Array> = async () => spec
  const reader = createServingReader({
    clock,
    fetchSpec: () => {
      reads++
      return answer()
    },
  })
  const notFound = new ProtocolError('cid_not_found', 'Nobody has it.', { hint: 'Upload it.' })
  const other = cidOfRawDigest(sha256(utf8.encode('other')))
  for (let i = 0; i < 100; i++) expect(await reader.read(cid, signal)).toEqual({ kind: 'anybody' })
  expect(reads).toBe(1)

  answer = () => Promise.reject(notFound)
  for (let i = 0; i < 100; i++)
    await expect(reader.read(other, signal)).rejects.toMatchObject({ code: 'deployment_unserved' })
  expect(reads).toBe(2)
  await clock.advance(limits.routeSpecUnknownMs)
  answer = () => Promise.reject(new ProtocolError('too_many_requests', 'Too many.', { hint: 'Wait.' }))
  await expect(reader.read(other, signal)).rejects.toMatchObject({ code: 'too_many_requests' })
  answer = async () => spec
  expect(await reader.read(other, signal)).toEqual({ kind: 'anybody' })
})
