import { generateKeyPairSync } from 'node:crypto'
import { type Address, getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { utf8 } from './base/bytes.ts'
import {
  attestKeyOfDocument,
  type DidFacts,
  readDidDocument,
  readSignedDidDocument,
  signDidDocument,
} from './did-document.ts'
import { parseName } from './name.ts'
import { parseSealKey } from './seal.ts'

const account = privateKeyToAccount(generatePrivateKey())
const other = privateKeyToAccount(generatePrivateKey())
const registry = getAddress(`0x${'11'.repeat(20)}`)
const market = { chainId: 31_337, escrow: getAddress(`0x${'22'.repeat(20)}`) }
const sealKeyDer = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
  format: 'der',
  type: 'spki',
})
const facts: DidFacts = {
  host: 'alice.localhost:8080',
  name: 'alice',
  provider: account.address,
  registry,
  endpoint: 'http://127.0.0.1:9000',
  url: 'http://alice.localhost:8080/',
  receiptKey: { x: `0x${'33'.repeat(32)}`, y: `0x${'44'.repeat(32)}` },
  presenceKey: `0x${'55'.repeat(32)}`,
  attestKey: { publicKey: `0x${'66'.repeat(48)}`, proofOfPossession: `0x${'77'.repeat(96)}` },
  sealKeyDer,
}
const signing = { account, market, validBefore: 2_000 }
const { kid } = await parseSealKey(sealKeyDer)
const check = {
  record: { name: parseName('alice'), address: account.address as Address, server: facts.endpoint },
  ...{ kid, registry, market, nowSeconds: 1_000 },
}
const bytesOf = (document: object) => utf8.encode(JSON.stringify(document))
const codeOf = (document: object, changes: Partial<typeof check> = {}) =>
  readDidDocument(bytesOf(document), { ...check, ...changes }).then(
    () => 'holds',
    ({ code }) => code,
  )

test('a document names host, keys and services, and holds as long as the chain says the same', async () => {
  const document = await signDidDocument(facts, signing)
  const read = await readDidDocument(bytesOf(document), check)
  expect(read.id).toBe('did:web:alice.localhost%3A8080')
  expect(read.verificationMethod.map(({ id, type }) => [id.slice(read.id.length), type])).toEqual([
    ['#account', 'EcdsaSecp256k1RecoveryMethod2020'],
    ['#receipts', 'JsonWebKey'],
    ['#presence', 'JsonWebKey'],
    ['#seal', 'JsonWebKey'],
    ['#attest', 'Multikey'],
  ])
  expect(attestKeyOfDocument(read)).toEqual(facts.attestKey)
  const withoutKey = { ...read, verificationMethod: read.verificationMethod.slice(0, -1) }
  expect(attestKeyOfDocument(withoutKey)).toBeUndefined()
  expect(read.verificationMethod[0]?.blockchainAccountId).toBe(`eip155:31337:${account.address}`)
  expect(read.service.map(({ serviceEndpoint }) => serviceEndpoint)).toEqual([facts.url, facts.endpoint])

  const { record } = check
  expect(await codeOf(document, { record: { ...record, server: 'https://elsewhere.example' } })).toBe(
    'did_outdated',
  )
  expect(await codeOf(document, { kid: 'another key' })).toBe('did_outdated')
  expect(await codeOf(document, { nowSeconds: 2_000 })).toBe('did_outdated')
  expect(await codeOf(document, { record: { ...record, address: other.address } })).toBe('did_invalid')
  expect(await codeOf(document, { record: { ...record, name: parseName('bob') } })).toBe('did_invalid')
  expect(await codeOf(document, { registry: other.address })).toBe('did_invalid')
  expect(await codeOf(document, { market: { ...market, chainId: 1 } })).toBe('did_invalid')
})

test('whatever is altered in a document, it holds no more', async () => {
  const document = (await signDidDocument(facts, signing)) as Record<string, unknown>
  const proof = document['proof'] as Record<string, unknown>
  const changed = (key: string, value: unknown) => codeOf({ ...document, [key]: value })
  expect(await changed('id', 'did:web:evil.example')).toBe('did_invalid')
  expect(await changed('service', [])).toBe('did_invalid')
  expect(await changed('note', 'a field more')).toBe('did_invalid')
  expect(await changed('proof', undefined)).toBe('did_invalid')
  for (const [key, value] of [
    ['endpoint', 'https://elsewhere.example'],
    ['validBefore', 3_000],
    ['digest', `0x${'00'.repeat(32)}`],
    ['signature', `0x${'00'.repeat(65)}`],
  ] as const)
    expect(await changed('proof', { ...proof, [key]: value })).toBe('did_invalid')
  const forged = await signDidDocument(facts, { ...signing, account: other })
  expect(await codeOf(forged)).toBe('did_invalid')
  for (const bytes of ['', '[]', '{', 'x'.repeat(20_000)])
    await expect(readDidDocument(utf8.encode(bytes), check)).rejects.toMatchObject({ code: 'did_invalid' })
})

test('without a chain a document is what its own account signed, whenever that was', async () => {
  const document = (await signDidDocument(facts, signing)) as Record<string, unknown>
  expect(await readSignedDidDocument(bytesOf(document))).toEqual(
    await readDidDocument(bytesOf(document), check),
  )
  const codeOffline = (altered: object) =>
    readSignedDidDocument(bytesOf(altered)).then(
      () => 'holds',
      ({ code }) => code,
    )
  expect(await codeOffline({ ...document, note: 'a field more' })).toBe('did_invalid')
  const proof = document['proof'] as Record<string, unknown>
  expect(await codeOffline({ ...document, proof: { ...proof, provider: other.address } })).toBe('did_invalid')
  expect(await codeOffline({ ...document, proof: { ...proof, chainId: 1 } })).toBe('did_invalid')
})
