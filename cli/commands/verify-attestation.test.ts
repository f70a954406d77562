import { generateKeyPairSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, expect, test } from 'vitest'
import { attestKeyOf, signAttestation } from '../../protocol/attestation.ts'
import { toHex, utf8 } from '../../protocol/base/bytes.ts'
import { type DidFacts, signDidDocument } from '../../protocol/did-document.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { createTestUser } from '../testing.ts'

const user = await createTestUser()
afterAll(() => user[Symbol.asyncDispose]())
const programId = `0x${'5a'.repeat(32)}` as ProgramId
const text = '{"price":64010}'
const registry = getAddress(`0x${'11'.repeat(20)}`)
const market = { chainId: 31_337, escrow: getAddress(`0x${'22'.repeat(20)}`) }
const sealKeyDer = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
  format: 'der',
  type: 'spki',
})

/** A provider with an answer of its program and its DID document, both as files. */
async function createSigner(name: string, byte: number, changes: Partial<DidFacts> = {}) {
  const secretKey = new Uint8Array(32).fill(byte)
  const account = privateKeyToAccount(generatePrivateKey())
  const attestKey = attestKeyOf(secretKey)
  const signature = toHex(signAttestation(utf8.encode(text), { programId, secretKey }))
  const document = await signDidDocument(
    {
      ...{ host: `${name}.localhost`, name, provider: account.address, registry, sealKeyDer, attestKey },
      ...{ endpoint: 'http://127.0.0.1:9000', url: `http://${name}.localhost/` },
      receiptKey: { x: `0x${'33'.repeat(32)}`, y: `0x${'44'.repeat(32)}` },
      presenceKey: `0x${'55'.repeat(32)}`,
      ...changes,
    },
    { account, market, validBefore: 2_000 },
  )
  await write(`${name}.did`, document)
  await write(`${name}.json`, { price: 64010, programId, message: toHex(utf8.encode(text)), signature })
  return { address: account.address, signature, ...attestKey }
}
const write = (name: string, value: object) => writeFile(join(user.dir, name), JSON.stringify(value))

const alice = await createSigner('alice', 1)
const bob = await createSigner('bob', 2)
await createSigner('rogue', 3, {
  attestKey: { ...attestKeyOf(new Uint8Array(32).fill(4)), proofOfPossession: bob.proofOfPossession },
})

async function verify(...argv: string[]) {
  const { exitCode, stdout } = await user.run(['verify-attestation', ...argv, '--json'])
  const { code, wrong, checks } = JSON.parse(stdout)
  return exitCode === 0
    ? checks.map(({ verdict }: { verdict: string }) => verdict).join(' ')
    : { exitCode, code, wrong }
}
const refused = (...wrong: string[]) => ({ exitCode: 1, code: 'attestation_invalid', wrong })
const flip = (hex: string, at: number) =>
  `${hex.slice(0, at)}${hex[at] === '0' ? '1' : '0'}${hex.slice(at + 1)}`

test('an answer and a DID document are enough; what is known besides is compared', async () => {
  const files = ['alice.json', '--did', 'alice.did']
  const { stdout, exitCode } = await user.run(['verify-attestation', ...files])
  expect(exitCode).toBe(0)
  expect(stdout.replaceAll(alice.address, '<alice>')).toMatchInlineSnapshot(`
    "-      program     0x5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a, at the file's own word; name it with --program
    -      message     {"price":64010}
    ok     key         0xaa1a1c2605…f68ac1 of alice, <alice>, signed by that account
    ok     signature   of this key over this message of this program
    "
  `)
  expect(await verify(...files, '--program-id', programId, '--text', text, '--provider', alice.address)).toBe(
    'ok ok ok ok',
  )
  const flags = ['--signature', alice.signature, '--program-id', programId, '--text', text]
  expect(await verify(...flags, '--public-key', alice.publicKey)).toBe('ok ok ok ok')
})

test('another message, signature, program, key or provider is named', async () => {
  const files = ['alice.json', '--did', 'alice.did']
  expect(await verify(...files, '--text', 'other')).toEqual(refused('message', 'signature'))
  expect(await verify(...files, '--program-id', flip(programId, 5))).toEqual(refused('program', 'signature'))
  expect(await verify(...files, '--signature', bob.signature)).toEqual(refused('signature'))
  expect(await verify('alice.json', '--did', 'bob.did')).toEqual(refused('signature'))
  expect(await verify(...files, '--provider', bob.address)).toEqual(refused('key'))
  expect(await verify('rogue.json', '--did', 'rogue.did')).toEqual(refused('key', 'signature'))
})

test('attestations of two add up to one, which holds with both keys and with no fewer', async () => {
  for (const name of ['alice', 'bob']) {
    const { stdout } = await user.run([
      'verify-attestation',
      `${name}.json`,
      '--did',
      `${name}.did`,
      '--json',
    ])
    await writeFile(join(user.dir, `${name}-said.json`), stdout)
  }
  const sum = await user.run(['attestation', 'aggregate', 'alice-said.json', 'bob-said.json'])
  expect(sum.exitCode).toBe(0)
  await writeFile(join(user.dir, 'sum.json'), sum.stdout)
  expect(await verify('sum.json', '--did', 'alice.did', '--did', 'bob.did')).toBe('open open ok ok ok')
  expect(await verify('sum.json', '--did', 'alice.did')).toEqual(refused('signature'))
  expect(await verify('sum.json')).toBe('open open open open ok')

  const again = await user.run(['attestation', 'aggregate', 'sum.json', 'bob-said.json', '--json'])
  expect(again.json()).toMatchObject({ code: 'attestation_invalid' })
  await write('forged.json', { ...JSON.parse(sum.stdout), signature: alice.signature })
  const forged = await user.run(['attestation', 'aggregate', 'forged.json', '--json'])
  expect(forged.json()).toMatchObject({ code: 'attestation_invalid' })
})

test('a document that its account did not sign, and what cannot be read, are refused', async () => {
  const document = JSON.parse(await readFile(join(user.dir, 'alice.did'), 'utf8'))
  await write('altered.did', { ...document, alsoKnownAs: [] })
  expect(await verify('alice.json', '--did', 'altered.did')).toMatchObject({
    exitCode: 1,
    code: 'did_invalid',
  })
  await write('broken.json', { programId, message: '0xF0', signature: '0x' })
  expect(await verify('broken.json', '--did', 'alice.did')).toMatchObject({
    exitCode: 1,
    code: 'attestation_invalid',
  })
})

test.each([
  [['alice.json'], 'Whose attestation'],
  [['alice.json', '--public-key', '0x00'], 'no public key'],
  [['missing.json', '--did', 'alice.did'], 'no file missing.json'],
  [['--did', 'alice.did'], '--program-id'],
  [['alice.json', '--did', 'alice.did', '--message', 'ab'], '--message is not right'],
  [['alice.json', '--did', 'alice.did', '--text', 'a', '--message', '0x'], 'given twice'],
  [['alice.json', '--did', 'alice.did', '--public-key', bob.publicKey], 'stands alone'],
  [['alice.json', '--did', 'alice.did', '--params', '{}'], 'belong to a program'],
])('%j is wrong usage', async (argv, why) => {
  const { exitCode, stderr } = await user.run(['verify-attestation', ...argv])
  expect(exitCode).toBe(2)
  expect(stderr).toContain(why)
})
