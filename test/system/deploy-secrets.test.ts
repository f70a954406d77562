import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { parseName, requireProvider } from '../../protocol/name.ts'
import { parseSealed, parseSealKey, type SealedSpec, sealSpec } from '../../protocol/seal.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'
import { publish, readSpec } from '../support/specs.ts'

/** KH-4: secrets arrive whole at those for whom they are sealed, and nowhere else. */

let at: TestMarket
beforeAll(async () => {
  at = await openMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

/** 64 KiB of everything that has broken env files before. */
const secrets: Readonly<Record<string, string>> = {
  EQUALS: 'a=b==c=',
  QUOTES: `"double" 'single' \`back\``,
  LINES: 'first\nsecond\r\nthird\n',
  UTF8: 'ხაჭაპური 🧀 \u{10ffff} e\u0301',
  SHELL: '$HOME $(id) $x \\n \\ #no comment',
  SPACES: '  leading and trailing\t ',
  EMPTY: '',
  LONG: randomBytes(30 * 1024).toString('base64url'),
  HEX: randomBytes(12 * 1024).toString('hex'),
}

/** As a developer writes them: in double quotes, with what means something there escaped. */
const envText = Object.entries(secrets)
  .map(([name, value]) => `${name}="${value.replaceAll(/["\\$]/g, '\\$&').replaceAll('\r', '\\r')}"\n`)
  .join('')

const rawBytesOf = async (cid: string, path = `/ipfs/${cid}?format=raw`) => {
  const { host, port } = at.dev.gateway
  const response = await fetch(`http://${host}:${port}${path}`)
  expect(response.status).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

describe('64 KiB of secrets', () => {
  let deployed: Deployed
  beforeAll(async () => {
    expect(Buffer.byteLength(envText)).toBeGreaterThan(64 * 1024)
    await writeFile(join(at.user.dir, 'secrets.env'), envText)
    const both = ['--provider', 'alice', '--provider', 'bob']
    deployed = await at.deploy(echoProgram, ...both, '--env-file', 'secrets.env')
  })

  test.each(['alice', 'bob'])('reach the program at %s as they were written', async (provider) => {
    const answer = await at.call({ provider, cid: deployed.cid, path: '/env' })
    expect(answer.status).toBe(200)
    const { params, ...env } = answer.json()
    expect(env).toEqual(secrets)
    expect(params).toEqual({})
  })

  test('are in no block of any store, neither their names nor their values', async () => {
    const stored = [await rawBytesOf(deployed.cid), await rawBytesOf(deployed.program)]
    const spellings = (text: string) => [
      text,
      JSON.stringify(text).slice(1, -1),
      Buffer.from(text).toString('base64'),
    ]
    const parts = [
      'EQUALS',
      'QUOTES',
      'SHELL',
      secrets['EQUALS'],
      secrets['UTF8'],
      secrets['LONG']?.slice(0, 16),
    ]
    for (const bytes of stored) {
      for (const part of parts.flatMap((text) => spellings(text ?? '')))
        expect(bytes.includes(part)).toBe(false)
    }
    expect(parseSealed(stored[0] ?? Buffer.alloc(0))?.recipients).toHaveLength(2)
  })

  test('are not told by the page of the deployment', async () => {
    const page = await at.call({ path: `/_/d/${deployed.cid}` })
    expect(page.json()).toMatchObject({ sealed: true, programId: deployed.programId })
    for (const part of ['EQUALS', 'a=b==c', 'env']) expect(page.text).not.toContain(part)
  })

  test('are said to be readable by whom they are sealed for, before anything is sealed', async () => {
    const { exitCode, stderr } = await at.user.run([
      'deploy',
      echoProgram,
      '--provider',
      'alice',
      '--env-file',
      'secrets.env',
      '--dry-run',
    ])
    expect(exitCode).toBe(0)
    expect(stderr).toContain('WHOEVER RUNS ALICE CAN READ THEM')
    for (const value of ['a=b==c', 'ხაჭაპური']) expect(stderr).not.toContain(value)
  })
})

test('a provider for whom nothing is sealed refuses with its own code', async () => {
  const { cid } = await at.deploy(echoProgram, '--provider', 'alice')
  const costs = await at.costsOf(async () => {
    const answer = await at.call({ provider: 'bob', cid })
    expect([answer.status, answer.problem().code]).toEqual([403, 'deployment_not_for_provider'])
  })
  expect(costs).toEqual(nothing)
})

test('a public deployment is plain for everybody, and holds no secrets', async () => {
  await writeFile(join(at.user.dir, 'one.env'), 'ONLY=secret')
  const refused = await at.user.run(['deploy', echoProgram, '--public', '--env-file', 'one.env', '--json'])
  expect([refused.exitCode, refused.json()['code']]).toEqual([2, 'usage_invalid'])
  const { cid, sealed } = await at.deploy(echoProgram, '--public', '--params', '{"open":true}')
  expect(sealed).toBe(false)
  expect((await rawBytesOf(cid)).toString()).toContain('"params":{"open":true}')
  for (const provider of ['alice', 'bob'])
    expect((await at.call({ provider, cid, path: '/env' })).json()).toEqual({ params: { open: true } })
})

describe('a seal', () => {
  let sealed: SealedSpec
  beforeAll(async () => {
    await writeFile(join(at.user.dir, 'two.env'), 'TOKEN=for alice only')
    const { cid } = await at.deploy(echoProgram, '--env-file', 'two.env')
    const parsed = parseSealed(await rawBytesOf(cid))
    expect(parsed).toBeDefined()
    sealed = parsed as SealedSpec
  })

  const flip = (text: string, at: number) =>
    `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`

  test('of which any byte was changed does not open', async () => {
    const [recipient] = sealed.recipients
    const broken: Readonly<Record<string, SealedSpec>> = {
      ciphertext: { ...sealed, ciphertext: flip(sealed.ciphertext, 40) },
      'end of the ciphertext': { ...sealed, ciphertext: sealed.ciphertext.slice(0, -4) },
      tag: { ...sealed, tag: flip(sealed.tag, 3) },
      iv: { ...sealed, iv: flip(sealed.iv, 3) },
      'wrapped key': {
        ...sealed,
        recipients: [{ ...recipient!, encrypted_key: flip(recipient!.encrypted_key, 9) }],
      },
      header: { ...sealed, protected: Buffer.from('{"enc":"A256GCM","typ":"other"}').toString('base64url') },
    }
    const costs = await at.costsOf(async () => {
      for (const [part, spec] of Object.entries(broken)) {
        const answer = await at.call({ cid: await publish(at, utf8.encode(JSON.stringify(spec))) })
        expect([part, answer.status, answer.problem().code]).toEqual([part, 422, 'seal_broken'])
      }
    })
    expect(costs).toEqual(nothing)
  })

  test("cannot be moved: its ciphertext beside another deployment's keys opens for nobody", async () => {
    const other = parseSealed(await rawBytesOf((await at.deploy(echoProgram, '--env-file', 'two.env')).cid))
    const moved = { ...sealed, recipients: other!.recipients }
    const answer = await at.call({ cid: await publish(at, utf8.encode(JSON.stringify(moved))) })
    expect([answer.status, answer.problem().code]).toEqual([422, 'seal_broken'])
  })

  test('by somebody else around a changed spec is refused for its signature', async () => {
    const spec = await readSpec(at, (await at.deploy(echoProgram, '--public', '--provider', 'alice')).cid)
    const key = await sealKeyOfAlice()
    const thief = privateKeyToAccount(generatePrivateKey())
    const forgeries = [
      // Another program under the owner's name, and the owner's own signature on something else.
      { ...(await signDeployment({ ...spec, entry: 'other.js' }, thief)), owner: spec.owner },
      { ...spec, env: { TOKEN: 'changed' } },
    ]
    const costs = await at.costsOf(async () => {
      for (const forgery of forgeries) {
        const cid = await publish(at, await sealSpec(formatDeployment(forgery), [key]))
        const answer = await at.call({ cid })
        expect([answer.status, answer.problem().code]).toEqual([403, 'signature_invalid'])
      }
    })
    expect(costs).toEqual(nothing)
  })

  test('around a spec that somebody else signed as its own makes that one pay, who has no grant', async () => {
    const spec = await readSpec(at, (await at.deploy(echoProgram, '--public', '--provider', 'alice')).cid)
    const thief = privateKeyToAccount(generatePrivateKey())
    const own = await signDeployment({ ...spec, owner: thief.address }, thief)
    const cid = await publish(at, await sealSpec(formatDeployment(own), [await sealKeyOfAlice()]))
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid })
      expect([answer.status, answer.problem().code]).toEqual([402, 'grant_missing'])
    })
    expect(costs).toEqual(nothing)
  })

  /** The key that anybody may seal for. */
  async function sealKeyOfAlice() {
    const { client, contracts } = at.dev
    const deps = { client, clock: systemClock, log: createTestLog() }
    const reader = createNameReader(deps, { registry: contracts.registry })
    const name = parseName('alice')
    const found = await reader.readName(name, new AbortController().signal)
    return parseSealKey(requireProvider(found, name).publicKey)
  }
})
