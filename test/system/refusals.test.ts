import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KiB, MiB, utf8 } from '../../protocol/base/bytes.ts'
import type { DeploymentDraft, DeploymentSpec } from '../../protocol/deployment.ts'
import { limits } from '../../protocol/limits.ts'
import { damageBlock } from '../support/blocks.ts'
import { filesWrittenBy } from '../support/files.ts'
import { buildZip, buildZip64, type HostileEntry, symlinkMode } from '../support/hostile-zip.ts'
import {
  type Deployed,
  echoProgram,
  type MarketCall,
  nothing,
  openMarket,
  type TestMarket,
} from '../support/market.ts'
import { publish, publishSpec, readSpec } from '../support/specs.ts'

/** KH-11, KH-12, KH-13: wrong input has its own code and a hint, costs nobody anything, and leaves nothing behind. */

let at: TestMarket
/** A public spec of the echo program that anybody may run and its owner pays for. */
let spec: DeploymentSpec
/** One that runs already. */
let warm: string
beforeAll(async () => {
  at = await openMarket()
  spec = await readSpec(at, (await at.deploy(echoProgram, '--public')).cid)
  warm = (await at.deploy(echoProgram, '--payer', 'caller', '--calls-per-minute', 'none')).cid
  expect((await at.call({ cid: warm, pass: await at.pass() })).status).toBe(200)
})
afterAll(() => at[Symbol.asyncDispose]())

interface Refusal {
  readonly status: number
  readonly code: string
}

/**
 * Makes calls that must be refused: with whole problem documents, without a record or a debit, and without a file written
 * anywhere, but for blocks that were fetched, and the log of programs, which is written a moment after what it tells of.
 */
async function expectRefusals(calls: readonly (readonly [MarketCall, Refusal])[]): Promise<void> {
  const costs = await at.costsOf(async () => {
    const written = await filesWrittenBy(at.user.dir, async () => {
      const answers = await Promise.all(calls.map(([call]) => at.call(call)))
      for (const [i, answer] of answers.entries()) {
        const { status, code } = calls[i]![1]
        expect([answer.status, answer.problem().code]).toEqual([status, code])
        expect(answer.problem()).toMatchObject({
          type: `urn:khachapuri:problem:${code}`,
          title: code.replaceAll('_', ' '),
          status,
          detail: expect.stringMatching(/^[^\n]{10,500}$/),
          hint: expect.stringMatching(/^[^\n]{10,300}\.$/),
          retryable: expect.any(Boolean),
        })
        expect(answer.header('khachapuri-call')).toBeUndefined()
        expect(answer.text).not.toContain(at.dir)
      }
    })
    expect(written.filter((path) => !/^\.market\/\w+\/(?:blocks\/|program-log\.sqlite)/.test(path))).toEqual(
      [],
    )
  })
  expect(costs).toEqual(nothing)
}

const expectRefusal = (call: MarketCall, refusal: Refusal) => expectRefusals([[call, refusal]])

const both = ['alice', 'bob']

const missing = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const sha1Cid = 'bafkrcfaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'

describe('the address of a call', () => {
  test.each<[string, MarketCall, Refusal]>([
    ['a subdomain that nobody registered', { provider: 'nobody' }, { status: 404, code: 'provider_unknown' }],
    ['a subdomain that is no name', { provider: 'no_body' }, { status: 400, code: 'name_malformed' }],
    ['two subdomains', { provider: 'www.alice' }, { status: 421, code: 'host_unknown' }],
    ['a CID that is none', { cid: 'bafkreinope' }, { status: 400, code: 'cid_malformed' }],
    ['a CID with another hash', { cid: sha1Cid }, { status: 400, code: 'cid_malformed' }],
    ['a CID of great length', { cid: `baf${'a'.repeat(4_000)}` }, { status: 400, code: 'cid_malformed' }],
    ['a path that is neither', { path: '/favicon.ico' }, { status: 404, code: 'not_found' }],
    ['a receipt that nobody has', { path: '/_/receipts/0x00' }, { status: 404, code: 'not_found' }],
  ])('%s is refused', async (_what, call, refusal) => {
    await expectRefusal(call, refusal)
  })

  test('a host that is not of this gateway is refused', async () => {
    const { port } = at.dev.gateway
    const answer = await at.call({
      ...({ host: `alice.elsewhere.example:${port}` } as MarketCall),
      cid: warm,
    })
    expect([answer.status, answer.problem().code]).toEqual([421, 'host_unknown'])
  })
})

describe('content', () => {
  test('that is missing, away or damaged is not run, be it the deployment or its program', async () => {
    const orphan = await publishSpec(at, spec, { program: missing })
    const notFound = { status: 404, code: 'cid_not_found' }
    await at.startProvider('lonely', { keepers: [new URL('http://127.0.0.1:1')] })
    const away = await publishSpec(at, spec, { createdAt: 1 })
    const [a, b] = [await deployFresh('one'), await deployFresh('two')]
    const heal = [await damageBlock(gatewayBlocks(), a.program), await damageBlock(gatewayBlocks(), b.cid)]
    const mismatch = { status: 502, code: 'cid_mismatch' }
    // All at once, as each of them waits for peers that say nothing.
    await expectRefusals([
      ...both.flatMap((provider) => [missing, orphan].map((cid) => [{ provider, cid }, notFound] as const)),
      [
        { provider: 'lonely', cid: away },
        { status: 504, code: 'content_unreachable' },
      ],
      ...both.flatMap((provider) => [a, b].map(({ cid }) => [{ provider, cid }, mismatch] as const)),
    ])
    await Promise.all(heal.map((mend) => mend()))
    for (const { cid } of [a, b]) expect((await at.call({ cid })).status).toBe(200)
  })

  test('that is no deployment at all is refused', async () => {
    for (const bytes of [
      '',
      'hello',
      '{}',
      '[]',
      'null',
      '{"version":1}',
      `{"version":2,${'"a":1,'.repeat(99)}"b":2}`,
    ]) {
      const cid = await publish(at, utf8.encode(bytes))
      await expectRefusal({ cid }, { status: 422, code: 'deployment_invalid' })
    }
  })

  test('a program in the place of a deployment is refused', async () => {
    await expectRefusal({ cid: spec.program }, { status: 422, code: 'deployment_invalid' })
  })

  test('that rots in the store of a provider is fetched again, and given to nobody', async () => {
    const { cid } = await deployFresh('three')
    expect((await at.call({ cid })).status).toBe(200)
    await damageBlock(join(at.dir, 'alice', 'blocks'), cid)
    const answer = await at.call({ path: `/ipfs/${cid}?format=raw` })
    expect([answer.status, answer.problem().code]).toEqual([502, 'cid_mismatch'])
  })

  const gatewayBlocks = () => join(at.dir, 'gateway', 'blocks')

  /** A program that nobody has fetched yet. */
  async function deployFresh(name: string): Promise<Deployed> {
    await at.user.run(['init', name])
    // A name of its own in the manifest makes it another zip.
    return at.deploy(name, '--public')
  }
})

describe('a spec', () => {
  const refusals: readonly (readonly [string, () => Partial<DeploymentDraft>, Refusal])[] = [
    ['for another chain', () => ({ chainId: 1 }), { status: 422, code: 'deployment_wrong_chain' }],
    [
      'for another escrow',
      () => ({ escrow: at.dev.contracts.usdc }),
      { status: 422, code: 'deployment_wrong_chain' },
    ],
    [
      'for another provider',
      () => ({ providers: [at.dev.providers.bob.address] }),
      { status: 403, code: 'deployment_not_for_provider' },
    ],
    [
      'for a runtime that is not here',
      () => ({ runtime: 'native' }),
      { status: 501, code: 'runtime_unavailable' },
    ],
    ['whose program is no CID', () => ({ program: 'abc' }), { status: 400, code: 'cid_malformed' }],
  ]
  test.each(refusals)('%s is refused', async (_what, changes, refusal) => {
    const cid = await publishSpec(at, spec, changes())
    await expectRefusal({ cid }, refusal)
  })
})

describe('a hostile zip is refused before anything is written and anybody pays', () => {
  const good: HostileEntry = {
    name: 'index.js',
    bytes: utf8.encode('export default { fetch: () => new Response() }'),
  }
  const evil = utf8.encode('evil')
  const zips: readonly (readonly [string, () => Uint8Array, RegExp])[] = [
    ['with a way out', () => buildZip([good, { name: '../../evil', bytes: evil }]), /leaves its directory/],
    ['with an absolute path', () => buildZip([good, { name: '/tmp/evil', bytes: evil }]), /absolute/],
    [
      'with a symbolic link',
      () => buildZip([good, { name: 'link', bytes: evil, mode: symlinkMode }]),
      /symbolic link/,
    ],
    ['with more files than allowed', () => buildZip([good, ...manyFiles()]), /more than 5000 entries/],
    ['that claims a million files', () => buildZip64(1_000_000n), /more than 5000 entries/],
    [
      'that claims 4 GiB',
      () => buildZip([good, { name: 'a', bytes: evil, deflate: true, claimedSize: 0xffff_fff0 }]),
      /unpacks to more than 262144000 bytes/,
    ],
    [
      'that grows a thousandfold',
      () => buildZip([good, { name: 'bomb', bytes: new Uint8Array(20 * MiB), deflate: true }]),
      /unpacks to more than 100 times/,
    ],
    [
      'whose file grows past what it claims',
      () =>
        buildZip([good, { name: 'bomb', bytes: new Uint8Array(64 * KiB), deflate: true, claimedSize: 100 }]),
      /damaged|more than it claims/,
    ],
    ['that is no zip', () => utf8.encode('PK, and nothing else'), /not a zip/],
    ['that is empty', () => new Uint8Array(), /not a zip/],
  ]
  const manyFiles = () => Array.from({ length: limits.zipEntriesMax }, (_, i) => ({ name: `f${i}` }))

  test.each(zips)('%s', async (_what, zip, reason) => {
    const cid = await publishSpec(at, spec, { program: await publish(at, zip()), entry: 'index.js' })
    const code = /more than [0-9]/.test(reason.source) ? 'content_too_large' : 'program_invalid'
    const refusal = { status: 422, code }
    await expectRefusals(both.map((provider) => [{ provider, cid }, refusal]))
    const problem = (await at.call({ cid })).problem()
    expect(problem['reason']).toMatch(reason)
  })
})

test('a program whose entry is missing is refused, and nobody pays', async () => {
  const cid = await publishSpec(at, spec, { entry: 'missing.js' })
  const costs = await at.costsOf(async () => {
    const answer = await at.call({ cid })
    expect([answer.status, answer.problem().code]).toEqual([422, 'program_invalid'])
  })
  expect(costs).toEqual(nothing)
})

describe('a body that is too large', () => {
  const tooMuch = { status: 413, code: 'body_too_large' }

  test.each(['alice', 'bob'])('and says so is refused by %s before it is sent', async (provider) => {
    const rawHeaders = ['content-length', String(limits.requestBodyBytesMax + 1), 'expect', '100-continue']
    const pass = await at.pass()
    const cid =
      provider === 'bob' ? (await at.deploy(echoProgram, '--provider', 'bob', '--payer', 'caller')).cid : warm
    await expectRefusal({ provider, cid, pass, method: 'POST', rawHeaders, body: '' }, tooMuch)
  })

  test('and does not say so is stopped where it passes the limit, and not charged', async () => {
    const pass = await at.pass()
    const chunk = Buffer.alloc(1 * MiB)
    let sent = 0
    const body = new Readable({
      read() {
        sent += chunk.byteLength
        this.push(sent > 2 * limits.requestBodyBytesMax ? null : chunk)
      },
    })
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ cid: warm, path: '/count', pass, body })
      expect([answer.status, answer.problem().code]).toEqual([413, 'body_too_large'])
    })
    expect(sent).toBeLessThan(limits.requestBodyBytesMax + 32 * MiB)
    expect(costs).toEqual(nothing)
  })

  test('for an Idempotency-Key is refused', async () => {
    const rawHeaders = ['idempotency-key', 'large']
    const body = Buffer.alloc(limits.idempotentRequestBytesMax + 1)
    await expectRefusal({ cid: warm, pass: await at.pass(), rawHeaders, body }, tooMuch)
  })
})

test('an answer that is too large breaks off, and a pass does not pay for it', async () => {
  const pass = await at.pass()
  const costs = await at.costsOf(async () => {
    await expect(at.call({ cid: warm, path: '/flood', pass })).rejects.toThrow()
  })
  expect(costs).toEqual(nothing)
})

test('whatever was refused, the providers go on answering', async () => {
  const pass = await at.pass()
  const costs = await at.costsOf(async () => {
    expect((await at.call({ cid: warm, pass })).status).toBe(200)
  })
  expect(costs).toEqual({ paid: { payer: 500n }, earned: { alice: 500n } })
})
