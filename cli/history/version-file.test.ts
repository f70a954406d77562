import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createTestUser } from '../testing.ts'
import { compareFiles, compareSettings } from './compare-versions.ts'
import { addVersion, digestEnv, findVersion, readVersions, type Version } from './version-file.ts'

const owner = getAddress(`0x${'0a'.repeat(20)}`)
const key = { project: 'app', market: 'here', owner }
const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

const version: Omit<Version, 'market' | 'number'> = {
  deployment: cid,
  programId: `0x${'ab'.repeat(32)}`,
  zipBytes: 10,
  spec: {
    version: 1,
    chainId: 31_337,
    escrow: getAddress(`0x${'e5'.repeat(20)}`),
    program: cid,
    runtime: 'js',
    entry: 'index.js',
    params: { greeting: 'hello' },
    env: { API_KEY: 'sesame' },
    limits: { timeoutMs: 1000, memoryMiB: 64, egress: 'none' },
    providers: [getAddress(`0x${'a1'.repeat(20)}`)],
    payer: 'any',
    policy: { ownerPays: { maxUsdcPerDay: usdc(1_000_000n), maxCallsPerMinute: 60 }, origins: 'any' },
    terms: null,
    owner,
    createdAt: 1_700_000_000,
    encrypted: { cid, key: 'k'.repeat(43) },
  },
  env: { API_KEY: 'ab12' },
  isPublic: false,
  encryptedCid: cid,
  providers: [{ name: 'alice', address: getAddress(`0x${'a1'.repeat(20)}`), priceUsdc: usdc(500n) }],
  keeper: 'http://localhost:8080/',
  message: null,
  from: '/somewhere/app',
}

async function createPlace() {
  const user = await createTestUser()
  const env = { KHACHAPURI_HOME: join(user.dir, 'home') }
  return {
    context: { env, clock: systemClock, signal: new AbortController().signal },
    path: join(env.KHACHAPURI_HOME, 'versions', 'app.json'),
    [Symbol.asyncDispose]: () => user[Symbol.asyncDispose](),
  }
}

test('versions are numbered for each market and owner, and hold no secret and no key', async () => {
  await using place = await createPlace()
  const { context, path } = place
  const there = { ...key, market: 'there' }
  expect((await addVersion(key, version, context)).number).toBe(1)
  expect((await addVersion(there, version, context)).number).toBe(1)
  expect((await addVersion(key, { ...version, message: 'second' }, context)).number).toBe(2)
  const [first, second] = await readVersions(key, context)
  const { env: _env, encrypted: _encrypted, ...spec } = version.spec
  expect(first).toEqual({ ...version, market: 'here', number: 1, spec: { ...spec, env: {} } })
  expect(second?.message).toBe('second')
  expect(await readVersions({ ...key, project: 'other' }, context)).toEqual([])
  const text = await readFile(path, 'utf8')
  expect(text).not.toContain('sesame')
  expect(text).not.toContain('k'.repeat(43))
})

test('deploys at the same time all get a number; the oldest are forgotten, and no number comes again', async () => {
  await using place = await createPlace()
  const { context } = place
  const count = limits.versionsKeptMax + 3
  const added = await Promise.all(Array.from({ length: count }, () => addVersion(key, version, context)))
  expect(added.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
    Array.from({ length: count }, (_, index) => index + 1),
  )
  const kept = await readVersions(key, context)
  expect([kept.length, kept[0]?.number, kept.at(-1)?.number]).toEqual([limits.versionsKeptMax, 4, count])
  expect(() => findVersion(kept, 3)).toThrow(expect.objectContaining({ code: 'version_unknown' }))
})

test('the digest of a value depends on key, name and value', () => {
  const digest = (name: string, value: string, byte: number) =>
    digestEnv({ [name]: value }, new Uint8Array(32).fill(byte))[name]
  const all = [digest('A', 'x', 1), digest('A', 'y', 1), digest('B', 'x', 1), digest('A', 'x', 2)]
  expect(new Set(all).size).toBe(4)
  expect(digest('A', 'x', 1)).toBe(all[0])
})

test('every field of a spec that differs is told by its name; what any two deploys differ in is not', () => {
  const a: Version = { ...version, market: 'here', number: 1 }
  expect(compareSettings(a, { ...a, number: 2, spec: { ...a.spec, createdAt: 5 } })).toEqual([])
  const b: Version = {
    ...a,
    env: { API_KEY: 'cd34', NEW: 'ef' },
    providers: [],
    encryptedCid: null,
    spec: {
      ...a.spec,
      params: { greeting: 'hello', more: [1] },
      limits: { ...a.spec.limits, memoryMiB: 128 },
      policy: { ...a.spec.policy, origins: ['https://example.org'] },
    },
  }
  expect(compareSettings(a, b)).toEqual([
    { kind: 'setting', name: 'encryptedProgram', change: 'changed', before: true, after: false },
    { kind: 'setting', name: 'limits.memoryMiB', change: 'changed', before: 64, after: 128 },
    { kind: 'setting', name: 'params.more', change: 'added', after: [1] },
    {
      kind: 'setting',
      name: 'policy.origins',
      change: 'changed',
      before: 'any',
      after: ['https://example.org'],
    },
    { kind: 'provider', name: 'alice', change: 'removed', before: version.providers[0]?.address },
    { kind: 'env', name: 'API_KEY', change: 'changed' },
    { kind: 'env', name: 'NEW', change: 'added' },
  ])
})

test('files are compared by content, and by whether they run', () => {
  const file = (path: string, text: string, executable = false) => ({
    path,
    bytes: Buffer.from(text),
    executable,
  })
  const a = [file('same', 'x'), file('text', 'x'), file('mode', 'x'), file('gone', 'x')]
  const b = [file('same', 'x'), file('text', 'y'), file('mode', 'x', true), file('new', 'x')]
  expect(compareFiles(a, b).map(({ name, change }) => `${change} ${name}`)).toEqual([
    'removed gone',
    'changed mode',
    'added new',
    'changed text',
  ])
})
