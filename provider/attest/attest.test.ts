import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bls12_381 } from '@noble/curves/bls12-381.js'
import { afterAll, expect, test } from 'vitest'
import { verifyAttestation, verifyPossession } from '../../protocol/attestation.ts'
import { toHex, utf8 } from '../../protocol/base/bytes.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { toActivationRequest } from '../http/activation-request.ts'
import { collectAnswer } from '../runtime/collect-answer.ts'
import { createJsRuntime } from '../runtime/js/js-runtime.ts'
import { type Instance, toCallError } from '../runtime/runtime.ts'
import { groupOrder, prepareAttestKey, readAttestKey } from './attest-key.ts'
import { openAttester } from './attester.ts'

/** Activations in workerd, and how they reach a key that is not in there. */

const never = new AbortController().signal
const base = { clock: systemClock, log: createTestLog() }
const parts = new AsyncDisposableStack()
afterAll(() => parts.disposeAsync())
const dir = await mkdtemp(join(tmpdir(), 'attest-'))
parts.defer(() => rm(dir, { recursive: true }))
const attester = parts.use(await openAttester(base, dir))
const runtime = parts.use(await createJsRuntime(base, { zygotes: 1 }, never))
const programId = (byte: string) => `0x${byte.repeat(32)}` as ProgramId
const id = programId('5a')

const source = `
let kept
const bytes = (text) => new TextEncoder().encode(text)
const hex = (array) => Array.from(array, (byte) => byte.toString(16).padStart(2, '0')).join('')
const tried = (attempt) => attempt.then(() => 'signed', ({ name, code }) => name + ' ' + code)
let later = 'nothing yet'
export const activations = {
  say: async ({ text }, { attest, programId }) => ({ signature: '0x' + hex(await attest(bytes(text))), programId }),
  echo: (params, { env }) => ({ params, env: Object.keys(env) }),
  raw: () => new Uint8Array([1, 2, 255]),
  nothing: () => undefined,
  own: () => new Response('mine', { status: 201 }),
  fails: () => { throw new RangeError('No price for that.') },
  many: async (_, { attest }) => {
    const all = await Promise.all(Array.from({ length: ${limits.attestationsPerCallMax + 1} }, () => tried(attest(bytes('m')))))
    console.log(all.filter((how) => how === 'signed').length)
    await attest(bytes('m'))
  },
  large: async ({ size }, { attest }) => (await attest(new Uint8Array(size))).length,
  text: (_, { attest }) => attest('text'),
  keep: (_, { attest }) => { kept = attest; return 'kept' },
  used: async () => tried(kept(bytes('late'))),
  background: (_, { attest, waitUntil }) => {
    waitUntil((async () => {
      for (later = 'signed'; later === 'signed';) later = await tried(attest(bytes('late')))
    })())
    return 'answered'
  },
  seen: () => later,
}
export const notListed = {}
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url)
    if (pathname === '/caught') return new Response(await tried(ctx.attest(bytes('page'))))
    if (pathname === '/has') return Response.json([Object.keys(env), typeof env['khachapuri:attest'], request.headers.get('khachapuri-attest')])
    if (pathname === '/binding') return env['khachapuri:attest'].fetch('http://attest/', { method: 'POST', body: 'x', headers: { 'khachapuri-attest': 'x' } })
    await ctx.attest(bytes('page'))
  },
}`

const names = [...source.matchAll(/^ {2}(\w+): /gm)].map(([, name]) => name as string)

const printed: string[] = []

async function start({ of = id, attests = true }: { of?: ProgramId; attests?: boolean } = {}) {
  return runtime.start(
    {
      files: [{ path: 'index.js', bytes: Buffer.from(source) }],
      entry: 'index.js',
      activations: Object.fromEntries([...names, 'missing'].map((name) => [name, {}])),
      capabilities: ['attest'],
    },
    {
      env: {},
      params: null,
      onOutput: (chunk: Buffer) => void printed.push(String(chunk)),
      limits: { timeoutMs: 30_000, memoryMiB: 64 },
      ...(attests && { attest: (message: Uint8Array) => attester.sign(of, message) }),
    },
    never,
  )
}

async function ask(instance: Instance, request: UpstreamRequest) {
  const { body, outcome, status } = await collectAnswer(instance, request)
  if (outcome.kind !== 'answered') {
    const { code, message } = toCallError(outcome)
    return { code, message }
  }
  return { status, body }
}
const activate = (instance: Instance, name: string, params: object = {}, of = id) =>
  ask(instance, toActivationRequest(name, utf8.encode(JSON.stringify(params)), of))
const page = (instance: Instance, target: string, more: readonly string[] = []) =>
  ask(instance, { method: 'GET', target, rawHeaders: ['host', 'a.example', ...more] })
const json = ({ body }: { body?: Buffer }) => JSON.parse(String(body))

test('what an activation gives is its answer; what it throws is told with its words', async () => {
  await using instance = await start()
  expect(json(await activate(instance, 'echo', { a: 1, b: 'c' }))).toEqual({
    params: { a: 1, b: 'c' },
    env: ['params'],
  })
  expect((await activate(instance, 'raw')).body).toEqual(Buffer.from([1, 2, 255]))
  expect(json(await activate(instance, 'nothing'))).toBe(null)
  expect(await activate(instance, 'own')).toEqual({ status: 201, body: Buffer.from('mine') })
  const failed = await activate(instance, 'fails')
  expect(failed.code).toBe('activation_failed')
  expect(failed.message).toMatch(/^RangeError: No price for that\. \(index\.js:\d+:\d+\)$/)
  expect((await activate(instance, 'missing')).code).toBe('program_output_invalid')
  expect((await activate(instance, 'text')).message).toContain('attest() takes bytes')
})

test('an activation attests in the name of its own program, the same bytes each time', async () => {
  await using instance = await start()
  await using other = await start({ of: programId('77') })
  const { publicKey, ...possession } = await attester.key()
  expect(verifyPossession({ publicKey, ...possession })).toBe(true)
  const message = toHex(utf8.encode('hello'))
  const said = json(await activate(instance, 'say', { text: 'hello' }))
  expect(json(await activate(instance, 'say', { text: 'hello' }))).toEqual(said)
  expect(said.programId).toBe(id)
  expect(verifyAttestation({ programId: id, message, signature: said.signature }, publicKey)).toBe(true)

  // Whatever a program says of itself, its process is that of another.
  const theirs = json(await activate(other, 'say', { text: 'hello' }, id))
  expect(theirs.programId).toBe(id)
  expect(verifyAttestation({ programId: id, message, signature: theirs.signature }, publicKey)).toBe(false)
  const asThemselves = { programId: programId('77'), message, signature: theirs.signature }
  expect(verifyAttestation(asThemselves, publicKey)).toBe(true)
})

test('the handler of pages cannot attest, and learns why', async () => {
  await using instance = await start({ attests: false })
  expect(String((await page(instance, '/caught')).body)).toBe('AttestError attest_outside_activation')
  expect((await page(instance, '/')).code).toBe('attest_outside_activation')
  expect(json(await page(instance, '/has'))).toEqual([['params'], 'undefined', null])
  expect((await page(instance, '/binding')).code).toBe('program_crashed')
})

test('nor can it where it has the binding after all: a call that is no activation is lent nothing', async () => {
  await using instance = await start()
  const refused = await page(instance, '/binding')
  expect(refused.status).toBe(403)
  expect(json(refused).code).toBe('attest_outside_activation')
  expect(json(await page(instance, '/has'))[2]).toBe(null)
})

test('a signature that is asked for after the answer is refused', async () => {
  await using instance = await start()
  await activate(instance, 'keep')
  expect(json(await activate(instance, 'used'))).toBe('AttestError attest_outside_activation')

  expect(json(await activate(instance, 'background'))).toBe('answered')
  await expect
    .poll(async () => json(await activate(instance, 'seen')))
    .toBe('AttestError attest_outside_activation')
})

test('a call has so many messages signed, of so many bytes', async () => {
  await using instance = await start()
  expect(await activate(instance, 'many')).toMatchObject({ code: 'attest_exhausted' })
  await expect.poll(() => printed.join('')).toBe(`${limits.attestationsPerCallMax}\n`)
  expect(json(await activate(instance, 'large', { size: limits.attestMessageBytesMax }))).toBe(96)
  const tooLarge = await activate(instance, 'large', { size: limits.attestMessageBytesMax + 1 })
  expect(tooLarge.code).toBe('attest_message_too_large')
  expect(json(await activate(instance, 'large', { size: 0 }))).toBe(96)
})

test('the key is made once, for this user only, and what is no key is not taken for one', async () => {
  expect(groupOrder).toBe(bls12_381.fields.Fr.ORDER)
  const path = join(dir, 'attest-key.hex')
  const before = await readFile(path, 'utf8')
  await prepareAttestKey(path)
  expect(await readFile(path, 'utf8')).toBe(before)
  expect((await stat(path)).mode & 0o777).toBe(0o600)

  const wrong = join(dir, 'wrong.hex')
  for (const text of ['', '00'.repeat(32), groupOrder.toString(16), before.slice(2), `0x${before}`]) {
    await writeFile(wrong, text)
    await expect(prepareAttestKey(wrong)).rejects.toMatchObject({ code: 'config_invalid' })
  }
  await writeFile(wrong, (groupOrder - 1n).toString(16))
  expect(toHex(await readAttestKey(wrong))).toBe(`0x${(groupOrder - 1n).toString(16)}`)
})

test('one program with many messages waits for itself; a thread that is stopped fails what waits', async () => {
  await using busy = await openAttester(base, dir)
  const order: string[] = []
  const sign = (of: ProgramId, name: string) =>
    busy.sign(of, utf8.encode(name)).then(
      () => order.push(name),
      (error) => order.push(`${name} ${error.code}`),
    )
  const first = [1, 2, 3].map((i) => sign(id, `a${i}`))
  const second = sign(programId('77'), 'b')
  await second
  expect(order.indexOf('a3')).toBe(-1)
  await Promise.all(first)

  const over = limits.attestWaitingPerProgramMax + 2
  const flood = Array.from({ length: over }, () => sign(id, 'c'))
  const other = sign(programId('77'), 'd')
  await other
  await busy[Symbol.asyncDispose]()
  await Promise.all(flood)
  expect(order).toContain('c attest_busy')
  expect(order).toContain('d')
  expect(order).toContain('c sandbox_unavailable')
  await sign(id, 'e')
  expect(order.at(-1)).toBe('e sandbox_unavailable')
})
