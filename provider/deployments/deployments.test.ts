import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { base64url, sha256, utf8 } from '../../protocol/base/bytes.ts'
import { type DeploymentDraft, formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { type Egress, type EgressOffer, egressOffers, isOffered } from '../../protocol/egress.ts'
import { encryptProgram } from '../../protocol/encrypted-program.ts'
import { type CID, digestOfCid } from '../../protocol/ipfs/cid.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { packZip } from '../../protocol/ipfs/pack-zip.ts'
import { hashProgram } from '../../protocol/program.ts'
import { parseSealKey, sealSpec } from '../../protocol/seal.ts'
import { createDeployments } from './deployments.ts'

const owner = privateKeyToAccount(generatePrivateKey())
const market = { chainId: 31_337, escrow: getAddress(`0x${'e5'.repeat(20)}`) }
const provider = getAddress(`0x${'a1'.repeat(20)}`)
const signal = new AbortController().signal
const zipOf = (source: string) => packZip([{ path: 'index.js', bytes: utf8.encode(source) }])

/** A store, and the deployments that a provider with this offer and these keys reads from it. */
function createWorld(offer: EgressOffer = 'listed', sealKeys: ReadonlyMap<string, KeyObject> = new Map()) {
  const files = new Map<string, Uint8Array>()
  const kept: string[] = []
  const deployments = createDeployments(
    {
      fetchFile: async (cid: CID) => files.get(cid.toString()) as Uint8Array,
      keep: async (root) => void kept.push(root.toString()),
    },
    {
      market,
      provider,
      sealKeys,
      runtimes: ['js', 'wasm'],
      assertTakes: () => undefined,
      mayRun: () => true,
      assertCid: () => undefined,
      allowsEgress: ({ limits: { egress } }) => isOffered(egress, offer),
    },
  )
  const store = async (bytes: Uint8Array) => {
    const { cid } = await importFile(bytes)
    files.set(cid.toString(), bytes)
    return cid.toString()
  }
  return { deployments, kept, store }
}

/** A deployment of `claimed` whose encrypted bytes hold `real`. */
async function deployEncrypted(
  { store }: Pick<ReturnType<typeof createWorld>, 'store'>,
  { claimed, real }: { claimed: Uint8Array; real: Uint8Array },
) {
  const program = (await importFile(claimed)).cid.toString()
  const key = randomBytes(32)
  const cid = await store(encryptProgram(real, { program, key }))
  const draft: DeploymentDraft = {
    version: 1,
    ...market,
    program,
    runtime: 'js',
    entry: 'index.js',
    params: {},
    env: {},
    limits: { timeoutMs: 1000, memoryMiB: 64, egress: 'none' },
    providers: [provider],
    payer: 'any',
    policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
    terms: null,
    owner: owner.address,
    createdAt: 1_700_000_000,
    encrypted: { cid, key: base64url.encode(key) },
  }
  return { cid, deployment: await store(formatDeployment(await signDeployment(draft, owner))) }
}

test('an encrypted program runs as the plain one that its id names, and its ciphertext is what is kept', async () => {
  const world = createWorld()
  const claimed = zipOf('export default 1')
  const { cid, deployment } = await deployEncrypted(world, { claimed, real: claimed })
  const read = await world.deployments.read(deployment, signal)
  expect(read.programId).toBe(hashProgram({ programDigest: sha256(claimed), params: {} }))
  expect(digestOfCid(read.programCid)).toEqual(new Uint8Array(sha256(claimed)))
  const { files } = await world.deployments.readProgram(read, signal)
  expect(files.map(({ path, bytes }) => [path, Buffer.from(bytes).toString()])).toEqual([
    ['index.js', 'export default 1'],
  ])
  expect(world.kept).toEqual([deployment, cid])
})

test('an owner who encrypts another program than the one it signed for is refused', async () => {
  const world = createWorld()
  const { deployment } = await deployEncrypted(world, { claimed: zipOf('nice'), real: zipOf('nasty') })
  const read = await world.deployments.read(deployment, signal)
  await expect(world.deployments.readProgram(read, signal)).rejects.toMatchObject({ code: 'cid_mismatch' })
  expect(world.kept).toEqual([])
})

/** A public deployment of a program that may reach this. */
async function deployReaching(
  { store }: ReturnType<typeof createWorld>,
  egress: Egress,
  runtime: 'js' | 'wasm' = 'js',
) {
  const draft: DeploymentDraft = {
    version: 1,
    ...market,
    program: (await importFile(zipOf('export default 1'))).cid.toString(),
    runtime,
    entry: 'index.js',
    params: {},
    env: {},
    limits: { timeoutMs: 1000, memoryMiB: 64, egress },
    providers: [],
    payer: 'any',
    policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
    terms: null,
    owner: owner.address,
    createdAt: 1_700_000_000,
  }
  return store(formatDeployment(await signDeployment(draft, owner)))
}

test('what is sealed is not recorded: nobody else could run its calls again', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const key = await parseSealKey(publicKey.export({ type: 'spki', format: 'der' }))
  const { deployments, store } = createWorld('listed', new Map([[key.kid, privateKey]]))
  const draft: DeploymentDraft = {
    ...{ version: 1, ...market, program: (await importFile(zipOf('x'))).cid.toString() },
    ...{ runtime: 'wasm', entry: 'a.wasm', params: {}, env: {}, providers: [provider], payer: 'any' },
    limits: { timeoutMs: 1000, memoryMiB: 64, egress: 'none' },
    policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
    ...{ terms: null, owner: owner.address, createdAt: 1_700_000_000 },
  }
  const recorded = { ...draft, record: { seconds: 60 } }
  const formatted = async (of: DeploymentDraft) => formatDeployment(await signDeployment(of, owner))
  const sealed = async (of: DeploymentDraft) => store(await sealSpec(await formatted(of), [key]))
  expect((await deployments.read(await sealed(draft), signal)).isSealed).toBe(true)
  expect((await deployments.read(await store(await formatted(recorded)), signal)).spec.record).toBeDefined()
  await expect(deployments.read(await sealed(recorded), signal)).rejects.toMatchObject({
    code: 'deployment_invalid',
    hint: 'Deploy it with --public, or without --record.',
  })
})

const asked: readonly Egress[] = ['none', ['https://api.example.com'], 'public']

test('a deployment that may reach more than its provider offers is refused by a code of its own', async () => {
  for (const [offered, offer] of egressOffers.entries()) {
    for (const [wanted, egress] of asked.entries()) {
      const world = createWorld(offer)
      const reading = world.deployments.read(await deployReaching(world, egress), signal)
      if (wanted <= offered) expect((await reading).spec.limits.egress).toEqual(egress)
      else await expect(reading).rejects.toMatchObject({ code: 'egress_refused' })
    }
  }
})

test('no wasm program has a network, whoever offers it', async () => {
  const world = createWorld('public')
  await expect(deployReaching(world, 'public', 'wasm')).rejects.toMatchObject({
    code: 'deployment_invalid',
    message: expect.stringContaining('has no network'),
  })
})

test.each([
  'https://api.example.com/',
  'https://API.example.com',
  'https://user@api.example.com',
  'https://api.example.com:443',
  'ftp://api.example.com',
  'https://',
  'http://api.example.com:22',
  'http://0x7f.1',
  'everything',
])('%j is no origin that a deployment can list', async (origin) => {
  const world = createWorld('public')
  await expect(deployReaching(world, [origin])).rejects.toMatchObject({ code: 'deployment_invalid' })
})
