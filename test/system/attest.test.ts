import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { verifyAttestation } from '../../protocol/attestation.ts'
import { toHex, utf8 } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { openOrigin } from '../support/http-origin.ts'
import { type MarketCall, nothing, openMarket } from '../support/market.ts'
import { publishSpec, readSpec } from '../support/specs.ts'

/** Activations and attestations as developer, caller and stranger meet them: through the gateway, and offline. */

const at = await openMarket()
afterAll(() => at[Symbol.asyncDispose]())
const carol = await at.startProvider('carol', { egressAllowsPrivate: true })
const grants = [{ provider: carol.address, priceUsdc: parseUsdc('0.0005'), budgetUsdc: parseUsdc('1') }]
const payer = await at.createPayer({ name: 'reader', grants })
const oracle = join(import.meta.dirname, '../../examples/attested-price')

const source = `
const hex = (bytes) => '0x' + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
export const activations = {
  async say({ text, times }, { attest, programId }) {
    const message = new TextEncoder().encode(text)
    return { message: hex(message), signature: hex(await attest(message)), programId, times }
  },
  fails() { throw new RangeError('There is nothing to say.') },
}
export default {
  async fetch(request, env, ctx) {
    if (new URL(request.url).pathname === '/bindings') return Response.json(Object.keys(env))
    await ctx.attest(new Uint8Array(1))
  },
}`
const manifest = {
  name: 'notary',
  entry: 'index.js',
  capabilities: ['attest'],
  activations: {
    say: { params: { text: { type: 'string' }, times: { type: 'integer', min: 1, optional: true } } },
    fails: { verbs: ['POST'] },
  },
}
const notary = await writeProgram('notary', manifest)
const everywhere = ['alice', 'bob'].flatMap((name) => ['--provider', name])
const { cid, programId } = await at.deploy(notary, ...everywhere)
const pass = await at.pass()
const activate = (name: string, call: MarketCall = {}) =>
  at.call({ cid, pass, ...call, path: `/_/activate/${name}` })

const publicKeyOf = async (provider: string) => {
  const { stdout } = await at.user.run(['did', provider, '--json'])
  return JSON.parse(stdout).attestKey.publicKey
}
const run = (...argv: string[]) => at.user.run(argv)
const keep = (name: string, text: string) => writeFile(join(at.user.dir, name), text)
const keepDid = async (provider: string) =>
  keep(`${provider}.did`, (await at.call({ provider, path: '/.well-known/did.json' })).text)

test('GET and POST are the same call; what is wrong with one is said before anybody pays', async () => {
  const got = await activate('say?text=hello+you&times=2')
  expect(got.status).toBe(200)
  const posted = await activate('say', { body: JSON.stringify({ times: 2, text: 'hello you' }) })
  expect(posted.body).toEqual(got.body)
  expect(got.json()).toMatchObject({ programId, times: 2, message: toHex(utf8.encode('hello you')) })

  const costs = await at.costsOf(async () => {
    const missing = await activate('say?times=2')
    expect([missing.status, missing.problem()]).toMatchObject([
      400,
      { code: 'activation_param_invalid', param: 'text' },
    ])
    const mistyped = await activate('say', { body: '{"text":"a","times":"2"}' })
    expect([mistyped.status, mistyped.problem()]).toMatchObject([
      400,
      { code: 'activation_param_invalid', param: 'times' },
    ])
    const wrongVerb = await activate('fails')
    expect([wrongVerb.status, wrongVerb.header('allow')]).toEqual([405, 'POST'])
    const unknown = await activate('missing')
    expect([unknown.status, unknown.problem().code]).toEqual([404, 'activation_unknown'])
    const large = await activate('say', { body: JSON.stringify({ text: 'x'.repeat(70_000) }) })
    expect(large.status).toBe(413)

    const failed = await activate('fails', { method: 'POST' })
    expect([failed.status, failed.problem().code]).toEqual([422, 'activation_failed'])
    expect(failed.problem().detail).toMatch(/^RangeError: There is nothing to say\. \(index\.js:\d+:\d+\)$/)
    const receipt = await at.call({ path: `/_/receipts/${failed.header(callHeaders.call)}` })
    expect(receipt.json()).toMatchObject({ outcome: 'program_crashed', status: 422, price: '0', programId })
  })
  expect(costs).toEqual(nothing)

  const described = (await at.call({ path: `/_/d/${cid}` })).json()
  expect(described).toMatchObject({
    capabilities: ['attest'],
    activations: {
      say: { verbs: ['GET', 'POST'], path: '/_/activate/say', params: { text: { type: 'string' } } },
      fails: { verbs: ['POST'], params: {} },
    },
  })
})

test('the handler of pages cannot attest, by whatever headers and paths', async () => {
  const refused = { code: 'attest_outside_activation', status: 403 }
  expect((await at.call({ cid, pass })).problem()).toMatchObject(refused)
  // Its process has no way to the key at all.
  expect((await activate('say?text=hello')).status).toBe(200)
  expect((await at.call({ cid, pass, path: '/bindings' })).json()).toEqual(['params'])
  const rawHeaders = ['khachapuri-activation', 'say', 'khachapuri-attest', 'x']
  const forged = await at.call({ cid, pass, rawHeaders, body: '{"text":"a"}' })
  expect(forged.problem()).toMatchObject(refused)
  const around = await at.call({ cid, pass, path: '/%5F/activate/say?text=a' })
  expect(around.problem()).toMatchObject(refused)
})

test('a message of another program of the same provider does not count as this one’s', async () => {
  const other = await at.deploy(notary, '--params', '{"other":true}')
  const said = (await activate('say?text=hello')).json<{ message: `0x${string}`; signature: `0x${string}` }>()
  const theirs = (await activate('say?text=hello', { cid: other.cid })).json<typeof said>()
  const publicKey = await publicKeyOf('alice')
  const holds = (of: string, { message, signature }: typeof said) =>
    verifyAttestation({ programId: of as ProgramId, message, signature }, publicKey)
  expect(theirs.message).toBe(said.message)
  expect([holds(programId, said), holds(other.programId, theirs)]).toEqual([true, true])
  expect([holds(programId, theirs), holds(other.programId, said)]).toEqual([false, false])
})

test('the same zip under another list of activations is another program, and is not run', async () => {
  const { cid: publicCid } = await at.deploy(notary, '--public')
  const spec = await readSpec(at, publicCid)
  const altered = await publishSpec(at, spec, { activations: { ...spec.activations, other: {} } })
  const answer = await activate('say?text=hello', { cid: altered })
  expect([answer.status, answer.problem().code]).toEqual([422, 'deployment_invalid'])
})

test('several providers say the same, and it adds up to one signature that needs all of them', async () => {
  for (const provider of ['alice', 'bob']) {
    await keepDid(provider)
    await keep(`${provider}.json`, (await activate('say?text=agreed', { provider })).text)
    const verified = await run('verify-attestation', `${provider}.json`, '--did', `${provider}.did`, '--json')
    expect(verified.exitCode).toBe(0)
    await keep(`${provider}-said.json`, verified.stdout)
  }
  const sum = await run('attestation', 'aggregate', 'alice-said.json', 'bob-said.json')
  await keep('sum.json', sum.stdout)
  const both = ['--did', 'alice.did', '--did', 'bob.did', '--program', notary, '--text', 'agreed']
  expect((await run('verify-attestation', 'sum.json', ...both)).exitCode).toBe(0)
  expect((await run('verify-attestation', 'sum.json', '--did', 'alice.did')).exitCode).toBe(1)
})

test('an oracle says the same in the same bytes, and bit by bit', async () => {
  const sample = await readFile(join(oracle, 'samples', 'candles.json'))
  await using exchange = await openOrigin((_, response) => response.end(sample))
  const params = JSON.stringify({ origin: exchange.url })
  const flags = ['--provider', 'carol', '--egress', exchange.url, '--params', params]
  const { cid: oracleCid } = await at.deploy(oracle, ...flags)
  const carolsPass = await at.pass(
    { providers: [carol.address], payer: payer.account.address },
    payer.account,
  )
  const ask = (path: string) =>
    at.call({ provider: 'carol', cid: oracleCid, pass: carolsPass, path: `/_/activate/${path}` })

  const answer = await ask('attest_price?time=1700000040&symbol=BTC-USD')
  expect(answer.json()).toMatchObject({ symbol: 'BTC-USD', minute: 1_700_000_040, cents: 3_665_039 })
  expect((await ask('attest_price?symbol=BTC-USD&time=1700000079')).body).toEqual(answer.body)
  expect(exchange.requests()).toBe(2)
  await keep('price.json', answer.text)
  await keepDid('carol')
  const trusted = ['--did', 'carol.did', '--provider', carol.address, '--program', oracle, '--params', params]
  const verified = await run('verify-attestation', 'price.json', ...trusted)
  expect(verified.exitCode).toBe(0)
  expect(verified.stdout).toContain('{"symbol":"BTC-USD","minute":1700000040,"cents":3665039}')

  const bitwise = await ask('attest_price_bits?time=1700000040&symbol=BTC-USD&bits=6')
  const { bits, programId: oracleId } = bitwise.json<{
    bits: { message: `0x${string}`; signature: `0x${string}` }[]
    programId: ProgramId
  }>()
  const publicKey = await publicKeyOf('carol')
  const values = bits.map(({ message, signature }) => {
    expect(verifyAttestation({ programId: oracleId, message, signature }, publicKey)).toBe(true)
    return JSON.parse(Buffer.from(message.slice(2), 'hex').toString()).value
  })
  // More than 63 cents are cut to that.
  expect(values).toEqual([1, 1, 1, 1, 1, 1])

  const soon = await ask('attest_price?time=99999999999&symbol=BTC-USD')
  expect([soon.status, soon.problem().code]).toEqual([422, 'activation_failed'])
})

async function writeProgram(name: string, of: object): Promise<string> {
  const dir = join(at.user.dir, name)
  await mkdir(dir)
  await writeFile(join(dir, 'khachapuri.json'), JSON.stringify(of))
  await writeFile(join(dir, 'index.js'), source)
  return dir
}
