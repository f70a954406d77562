import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requestHttp } from '../http.ts'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'
import type { RunOptions } from '../testing.ts'

interface Deployed {
  readonly cid: string
  readonly program: string
  readonly programId: string
  readonly version: number
  readonly encrypted: string | null
  readonly urls: Readonly<Record<string, string>>
}

let at: UserInMarket
beforeAll(async () => {
  at = await createUserInMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: RunOptions) => at.user.run(line.split(' '), options)
const signal = new AbortController().signal
const bytesOf = async (url: string) =>
  Buffer.from((await requestHttp({ url: new URL(url), bytesMax: 2 ** 22 }, signal)).body)
const answerOf = async (url: string) => JSON.parse((await bytesOf(url)).toString())
const keptOf = (cid: string) => bytesOf(`${at.market.gateway.url.origin}/ipfs/${cid}?format=raw`)

/** Writes a program that tells its edition, env and params. */
async function writeTeller(name: string, { edition, env = '' }: { edition: string; env?: string }) {
  const dir = join(at.user.dir, name)
  await mkdir(join(dir, 'static'), { recursive: true })
  const source = `export default {
    fetch: (request, { params, ...env }) => Response.json({ edition: '${edition}', env, params })
  }`
  await writeFile(join(dir, 'index.js'), source)
  await writeFile(join(dir, 'khachapuri.json'), JSON.stringify({ name, entry: 'index.js' }))
  await writeFile(join(dir, '.env'), env)
}

test('deploys are numbered, compared and rolled back, with the secrets of now and nothing built', async () => {
  await writeTeller('app-a', { edition: 'one', env: 'KEY=first\nOLD=1\n' })
  expect((await run('versions app-a --json')).json()).toMatchObject({ versions: [] })
  const one = (await run('deploy app-a --provider alice -m start --json')).json<Deployed>()
  await writeTeller('app-a', { edition: 'two', env: 'KEY=second\nNEW=1\n' })
  await writeFile(join(at.user.dir, 'app-a', 'static', 'more.txt'), 'more')
  const two = (
    await run('deploy app-a --provider alice --provider bob --memory 64 --params {"a":1} --json')
  ).json<Deployed>()
  expect([one.version, two.version]).toEqual([1, 2])

  const listed = (await run('versions app-a --json')).json<{ versions: Record<string, unknown>[] }>()
  expect(listed.versions).toMatchObject([
    { number: 2, cid: two.cid, env: ['KEY', 'NEW'], message: null },
    {
      number: 1,
      cid: one.cid,
      programId: one.programId,
      message: 'start',
      env: ['KEY', 'OLD'],
      providers: [{ name: 'alice', priceUsdc: '500' }],
    },
  ])
  const text = (await run('versions app-a')).stdout
  expect(text).toContain(`2  `)
  expect(text).toContain('alice at 0.0005 USDC, bob at 0.0005 USDC')

  const { changes } = (await run('diff --dir app-a --json')).json<{ changes: Record<string, string>[] }>()
  expect(changes.map(({ kind, name, change }) => `${change} ${kind} ${name}`)).toEqual([
    'changed file index.js',
    'added file static/more.txt',
    'changed setting limits.memoryMiB',
    'added setting params.a',
    'added provider bob',
    'changed env KEY',
    'added env NEW',
    'removed env OLD',
  ])
  const shown = await run('diff 2 1 --dir app-a')
  expect(shown.stdout).toMatch(/- file {6}static\/more\.txt {2}4 B 0x[0-9a-f]{12}…\n/)
  expect(shown.stdout).toContain('~ env       KEY  has another value')

  const dry = await run('rollback --dir app-a --dry-run')
  expect(dry.stderr).toContain('setting limits.memoryMiB: now 64, then 128')
  expect(dry.stderr).toContain('KEY has another value than then')
  expect(dry.stderr).toContain('OLD was a secret of it then, and is none now')
  expect((await run('rollback --dir app-a --json')).json()).toMatchObject({ code: 'not_confirmed' })
  const back = (await run('rollback --dir app-a --yes -m back --json')).json<Deployed>()
  expect(back).toMatchObject({ version: 3, program: one.program, programId: one.programId })
  expect(back.cid).not.toBe(one.cid)
  expect(Object.keys(back.urls)).toEqual(['alice'])
  expect(await answerOf(back.urls['alice'] as string)).toEqual({
    edition: 'one',
    env: { KEY: 'second', NEW: '1' },
    params: {},
  })
  expect(await answerOf(one.urls['alice'] as string)).toMatchObject({ edition: 'one', env: { KEY: 'first' } })
  expect((await run('diff 1 3 --dir app-a --json')).json()).toMatchObject({
    changes: [
      { kind: 'env', name: 'KEY', change: 'changed' },
      { kind: 'env', name: 'NEW', change: 'added' },
      { kind: 'env', name: 'OLD', change: 'removed' },
    ],
  })

  for (const [line, code] of [
    ['rollback 9 --dir app-a --yes', 'version_unknown'],
    ['diff 0 --dir app-a', 'usage_invalid'],
    ['diff --dir app', 'usage_invalid'],
    ['rollback --dir app --yes', 'usage_invalid'],
  ] as const)
    expect((await run(`${line} --json`)).json(), line).toMatchObject({ code })
})

test('secrets that were put are sealed with the next deploy and win over .env; nobody shows them', async () => {
  await writeTeller('app-b', { edition: 'one', env: 'KEY=of the file\nPLAIN=1\n' })
  const put = await run('secret put KEY --dir app-b --json', { stdin: 'put "in"\n' })
  expect(put.json()).toMatchObject({ name: 'KEY', project: 'app-b', replaced: false })
  await run('secret put TYPED --dir app-b', { typed: ['by hand'] })
  await run('secret put GONE --dir app-b', { stdin: 'gone' })
  await run('secret rm GONE --dir app-b')
  const list = await run('secret list app-b --json')
  expect(list.json<{ secrets: { name: string }[] }>().secrets.map(({ name }) => name)).toEqual([
    'KEY',
    'TYPED',
  ])
  const deployed = await run('deploy app-b --provider alice --json')
  expect(await answerOf(deployed.json<Deployed>().urls['alice'] as string)).toMatchObject({
    env: { KEY: 'put "in"', TYPED: 'by hand', PLAIN: '1' },
  })
  expect(deployed.stderr).toContain('1 secret of ')
  expect(deployed.stderr).toContain('and 2 secrets of "secret put": WHOEVER RUNS ALICE')
  const kept = await readFile(join(at.user.dir, '.home', 'secrets', 'app-b.json'), 'utf8')
  const history = await readFile(join(at.user.dir, '.home', 'versions', 'app-b.json'), 'utf8')
  for (const { stdout, stderr } of [put, list, deployed, { stdout: kept, stderr: history }])
    for (const value of ['put "in"', 'put \\"in\\"', 'by hand']) expect(stdout + stderr).not.toContain(value)

  const onLine = await run('secret put KEY hunter2 --dir app-b')
  expect(onLine.exitCode).toBe(2)
  expect(onLine.stdout + onLine.stderr).not.toContain('hunter2')

  const bare = (await run('deploy app-b --provider alice --no-env --json')).json<Deployed>()
  expect(await answerOf(bare.urls['alice'] as string)).toMatchObject({ env: {} })
  for (const [line, stdin] of [
    ['secret put KEY', ''],
    ['secret put KEY', '\n'],
    ['secret put params', 'x'],
    ['secret put 1KEY', 'x'],
    ['secret put KEY', 'x'.repeat(200_000)],
    ['secret rm NONE', ''],
    ['deploy app-b --public', ''],
  ] as const) {
    const words = line.startsWith('deploy') ? line : `${line} --dir app-b`
    expect((await run(words, { stdin })).exitCode, line).toBe(2)
  }
})

test('an encrypted program is unreadable in the store, runs where it is sealed for, and comes back by its account', async () => {
  await writeTeller('app-c', { edition: 'only for alice' })
  const one = (await run('deploy app-c --provider alice --encrypt-program --json')).json<Deployed>()
  const built = (await run('build app-c --json')).json<Deployed>()
  expect(one).toMatchObject({ program: built.program, programId: built.programId })
  expect(await answerOf(one.urls['alice'] as string)).toMatchObject({ edition: 'only for alice' })

  const ciphertext = await keptOf(one.encrypted as string)
  expect(ciphertext.byteLength).toBeGreaterThan(200)
  for (const part of ['only for alice', 'index.js', 'khachapuri.json'])
    expect(ciphertext.includes(part), part).toBe(false)
  const origins = [at.market.gateway.url.origin, (at.market.providers.alice.url as URL).origin]
  for (const origin of origins) {
    const { status } = await requestHttp(
      { url: new URL(`${origin}/ipfs/${one.program}?format=raw`), bytesMax: 2 ** 20 },
      signal,
    )
    expect(status).toBe(404)
  }
  expect(await answerOf(`http://alice.${at.market.gateway.domain}/_/d/${one.cid}`)).toMatchObject({
    program: one.program,
    encrypted: one.encrypted,
  })
  const bob = await bytesOf(`http://bob.${at.market.gateway.domain}/${one.cid}/`)
  expect(JSON.parse(bob.toString())).toMatchObject({ code: 'deployment_not_for_provider' })

  await writeTeller('app-c', { edition: 'plain' })
  await run('deploy app-c --provider alice')
  const files = (await run('diff --dir app-c --json')).json<{ changes: { kind: string; name: string }[] }>()
  expect(files.changes.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'file index.js',
    'setting encryptedProgram',
  ])
  const back = (await run('rollback --dir app-c --yes --json')).json<Deployed>()
  expect(back.encrypted).not.toBeNull()
  expect(await answerOf(back.urls['alice'] as string)).toMatchObject({ edition: 'only for alice' })
  expect((await run('deploy app-c --public --encrypt-program')).exitCode).toBe(2)
})

test('a public deployment comes back public; a history that is broken stops a deploy before anything is published', async () => {
  await writeTeller('app-d', { edition: 'one' })
  await run('deploy app-d --public --params {"a":1}')
  await writeTeller('app-d', { edition: 'two' })
  await run('deploy app-d --public')
  const back = (await run('rollback --dir app-d --yes --json')).json<Deployed>()
  expect(await answerOf(`http://bob.${at.market.gateway.domain}/${back.cid}/`)).toEqual({
    edition: 'one',
    env: {},
    params: { a: 1 },
  })
  const listed = (await run('versions app-d --json')).json<{ versions: Record<string, unknown>[] }>()
  expect(listed.versions[0]).toMatchObject({ number: 3, isPublic: true, providers: [], from: 1 })

  await writeFile(join(at.user.dir, '.home', 'versions', 'app-d.json'), '{}')
  const { stderr, json } = await run('deploy app-d --provider alice --json')
  expect(json()).toMatchObject({ code: 'config_invalid' })
  expect(stderr).not.toContain('Published')
})
