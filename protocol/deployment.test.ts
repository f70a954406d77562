import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import forge from 'node-forge'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import {
  type DeploymentDraft,
  formatDeployment,
  hashDraft,
  parseDeployment,
  signDeployment,
  verifyDeployment,
} from './deployment.ts'
import { openSeal, parseSealed, parseSealKey, sealSpec } from './seal.ts'
import { usdc } from './usdc.ts'

const owner = privateKeyToAccount(generatePrivateKey())
const market = { chainId: 31_337, escrow: getAddress(`0x${'e5'.repeat(20)}`) }

const draft: DeploymentDraft = {
  version: 1,
  ...market,
  program: 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
  runtime: 'js',
  entry: 'index.js',
  params: { greeting: 'hello' },
  env: { KEY: 'a=b "c"\nd ü' },
  limits: { timeoutMs: 1000, memoryMiB: 64, egress: 'none' },
  providers: [getAddress(`0x${'a1'.repeat(20)}`)],
  payer: 'any',
  policy: { ownerPays: { maxUsdcPerDay: usdc(1_000_000n), maxCallsPerMinute: 60 }, origins: 'any' },
  terms: null,
  owner: owner.address,
  createdAt: 1_700_000_000,
}

function makeKey() {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { der: publicKey.export({ format: 'der', type: 'spki' }), privateKey }
}

async function keysOf(...keys: { der: Buffer; privateKey: KeyObject }[]): Promise<Map<string, KeyObject>> {
  return new Map(
    await Promise.all(keys.map(async (k) => [(await parseSealKey(k.der)).kid, k.privateKey] as const)),
  )
}

test('a signed spec survives the way to IPFS and back', async () => {
  const spec = await signDeployment(draft, owner)
  const read = parseDeployment(formatDeployment(spec))
  expect(read).toEqual(spec)
  await expect(verifyDeployment(read, market)).resolves.toBeUndefined()
})

test('a spec that was signed before there were encrypted programs is still what its owner signed', async () => {
  const old =
    '{"chainId":31337,"createdAt":1700000000,"entry":"index.js","env":{"KEY":"x"},"escrow":"0xE5e5E5E5e5e5E5E5E5E5e5E5e5e5e5E5e5e5e5e5","limits":{"egress":"none","memoryMiB":64,"timeoutMs":1000},"owner":"0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A","params":{},"payer":"any","policy":{"origins":"any","ownerPays":{"maxCallsPerMinute":60,"maxUsdcPerDay":null}},"program":"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku","providers":[],"runtime":"js","signature":"0x2eba094f810aadf7db1e6d0fb14d1b1e977fa5a25f8f1916dc4dbd6e3e67d45240a11c497bca79c2befe02601c99859a91518ba04b65f8fc4cdd2cab2d96f0511b","terms":null,"version":1}'
  const spec = parseDeployment(Buffer.from(old))
  await expect(verifyDeployment(spec, market)).resolves.toBeUndefined()
  expect(Buffer.from(formatDeployment(spec)).toString()).toBe(old)
})

test('what was signed before there were more limits is what it was, digest and signature', async () => {
  const old = { ...draft, owner: getAddress(`0x${'0a'.repeat(20)}`) }
  expect(hashDraft(old)).toBe('0xf12cc5284bf876aeac09c1dfb16a98aa3b890ef02d33b7ff949750106999d980')
  const spec = await signDeployment(draft, owner)
  expect(Object.keys(spec.limits)).toEqual(['timeoutMs', 'memoryMiB', 'egress'])
  await expect(verifyDeployment(spec, market)).resolves.toBeUndefined()
})

test('what attests is js with activations and without env, all under the signature', async () => {
  const offers = {
    activations: { price: { params: { symbol: { type: 'string' as const } } } },
    capabilities: ['attest' as const],
  }
  const attesting = { ...draft, ...offers, env: {} }
  const spec = await signDeployment(attesting, owner)
  expect(spec).toMatchObject(offers)
  await expect(verifyDeployment({ ...spec, activations: { other: {} } }, market)).rejects.toMatchObject({
    code: 'signature_invalid',
  })
  await expect(verifyDeployment({ ...spec, capabilities: undefined }, market)).rejects.toMatchObject({
    code: 'signature_invalid',
  })
  for (const changes of [{ env: draft.env }, { activations: undefined }, { runtime: 'wasm' as const }])
    await expect(signDeployment({ ...attesting, ...changes }, owner)).rejects.toMatchObject({
      code: 'deployment_invalid',
    })
  await expect(signDeployment({ ...draft, activations: offers.activations }, owner)).resolves.toBeDefined()
})

test('limits beyond the table are refused, and those within it are under the signature', async () => {
  const limits = { ...draft.limits, cpuMs: 500, concurrency: 1, responseBytes: 0 }
  const spec = await signDeployment({ ...draft, limits }, owner)
  expect(spec.limits).toEqual(limits)
  const changed = { ...spec, limits: { ...limits, concurrency: 2 } }
  await expect(verifyDeployment(changed, market)).rejects.toMatchObject({ code: 'signature_invalid' })
  for (const wrong of [{ concurrency: 0 }, { concurrency: 513 }, { cpuMs: 300_001 }, { responseBytes: -1 }]) {
    const signing = signDeployment({ ...draft, limits: { ...limits, ...wrong } }, owner)
    await expect(signing).rejects.toMatchObject({ code: 'deployment_invalid' })
  }
})

test('a change of any field breaks the signature', async () => {
  const spec = await signDeployment(draft, owner)
  const changes: Partial<DeploymentDraft>[] = [
    { program: 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy' },
    { entry: 'other.js' },
    { params: { greeting: 'bye' } },
    { env: {} },
    { limits: { ...draft.limits, egress: 'public' } },
    { providers: [] },
    { payer: 'owner' },
    { policy: { ...draft.policy, ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null } } },
    { terms: draft.program },
    { owner: getAddress(`0x${'bb'.repeat(20)}`) },
    { createdAt: 1 },
    { encrypted: { cid: draft.program, key: 'A'.repeat(43) } },
  ]
  for (const change of changes) {
    await expect(
      verifyDeployment({ ...spec, ...change }, market),
      Object.keys(change)[0],
    ).rejects.toMatchObject({
      code: 'signature_invalid',
    })
  }
})

test('a spec of another chain or escrow is refused', async () => {
  const spec = await signDeployment(draft, owner)
  await expect(verifyDeployment(spec, { ...market, chainId: 1 })).rejects.toMatchObject({
    code: 'deployment_wrong_chain',
  })
})

test('any bytes are a spec or a refusal', () => {
  const refuses = (bytes: Uint8Array): void => {
    expect(() => parseDeployment(bytes)).toThrow(expect.objectContaining({ code: 'deployment_invalid' }))
  }
  fc.assert(fc.property(fc.uint8Array(), refuses))
  fc.assert(fc.property(fc.json(), (json) => refuses(Buffer.from(json))))
  refuses(Buffer.from('['.repeat(100_000)))
})

test('every recipient opens the seal; nobody else does', async () => {
  const [alice, bob, eve] = [makeKey(), makeKey(), makeKey()]
  const spec = formatDeployment(await signDeployment(draft, owner))
  const bytes = await sealSpec(spec, [await parseSealKey(alice.der), await parseSealKey(bob.der)])
  // In quotes, as three letters alone turn up in Base64 by chance.
  expect(Buffer.from(spec).includes('"KEY"')).toBe(true)
  expect(Buffer.from(bytes).includes('"KEY"')).toBe(false)
  const sealed = parseSealed(bytes)!
  for (const key of [alice, bob])
    expect(Buffer.from(await openSeal(sealed, await keysOf(key)))).toEqual(Buffer.from(spec))
  await expect(openSeal(sealed, await keysOf(eve))).rejects.toMatchObject({
    code: 'deployment_not_for_provider',
  })
})

test('a seal with a changed byte does not open', async () => {
  const alice = makeKey()
  const sealed = parseSealed(
    await sealSpec(Buffer.from('a spec of some length'), [await parseSealKey(alice.der)]),
  )!
  const keys = await keysOf(alice)
  const flip = (text: string) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
  for (const broken of [
    { ...sealed, ciphertext: flip(sealed.ciphertext) },
    { ...sealed, tag: flip(sealed.tag) },
    { ...sealed, iv: flip(sealed.iv) },
    { ...sealed, protected: Buffer.from('{"enc":"A256GCM"}').toString('base64url') },
    {
      ...sealed,
      recipients: [{ ...sealed.recipients[0]!, encrypted_key: flip(sealed.recipients[0]!.encrypted_key) }],
    },
  ]) {
    await expect(openSeal(broken, keys)).rejects.toMatchObject({ code: 'seal_broken' })
  }
})

test('an independent implementation opens the key envelope: node-forge with SHA-256 for hash and mask', async () => {
  const alice = makeKey()
  const sealed = parseSealed(await sealSpec(Buffer.from('secret'), [await parseSealKey(alice.der)]))!
  const pem = alice.privateKey.export({ format: 'pem', type: 'pkcs1' }).toString()
  const forgeKey = forge.pki.privateKeyFromPem(pem)
  const encryptedKey = Buffer.from(sealed.recipients[0]!.encrypted_key, 'base64url').toString('binary')
  const contentKey = forgeKey.decrypt(encryptedKey, 'RSA-OAEP', {
    md: forge.md.sha256.create(),
    mgf1: { md: forge.md.sha256.create() },
  })
  const decipher = forge.cipher.createDecipher('AES-GCM', contentKey)
  const bytesOf = (text: string) => Buffer.from(text, 'base64url').toString('binary')
  decipher.start({
    iv: bytesOf(sealed.iv),
    tag: forge.util.createBuffer(bytesOf(sealed.tag)),
    additionalData: sealed.protected,
  })
  decipher.update(forge.util.createBuffer(bytesOf(sealed.ciphertext)))
  expect(decipher.finish()).toBe(true)
  expect(decipher.output.toString()).toBe('secret')
})
