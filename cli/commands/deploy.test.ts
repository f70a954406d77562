import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listen } from '../../protocol/http/listen.ts'
import { requestHttp } from '../http.ts'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'

interface Deployed {
  readonly cid: string
  readonly program: string
  readonly programId: string
  readonly sealed: boolean
  readonly urls: Readonly<Record<string, string>>
  readonly providers: readonly { name: string; checked: boolean; grant: string | null }[]
}

const signal = new AbortController().signal

let at: UserInMarket
beforeAll(async () => {
  at = await createUserInMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const deploy = (...argv: string[]) => at.user.run(['deploy', ...argv])
const get = (url: string, headers: Record<string, string> = {}) =>
  requestHttp({ url: new URL(url), headers, bytesMax: 2 ** 20 }, signal)
const textOf = ({ body }: { body: Uint8Array }) => Buffer.from(body).toString()

/** Writes a program that tells its env and params. */
async function writeTeller(name: string, env: string): Promise<void> {
  await mkdir(join(at.user.dir, name))
  const source = 'export default { fetch: (request, { params, ...env }) => Response.json({ env, params }) }'
  await writeFile(join(at.user.dir, name, 'index.js'), source)
  await writeFile(join(at.user.dir, name, 'khachapuri.json'), JSON.stringify({ name, entry: 'index.js' }))
  if (env !== '') await writeFile(join(at.user.dir, name, '.env'), env)
}

test('a program is deployed to two providers, and each answers at the printed URL', async () => {
  const { exitCode, json, stderr } = await deploy('app', '--provider', 'alice', '--provider', 'bob', '--json')
  expect(stderr).not.toContain('Warning')
  expect(exitCode).toBe(0)
  const deployed = json<Deployed>()
  expect(Object.keys(deployed.urls)).toEqual(['alice', 'bob'])
  expect(deployed.providers.map(({ checked, grant }) => ({ checked, grant }))).toEqual([
    { checked: true, grant: 'covers' },
    { checked: true, grant: 'covers' },
  ])
  for (const [name, url] of Object.entries(deployed.urls)) {
    expect(url).toBe(`http://${name}.${at.market.gateway.domain}/${deployed.cid}/`)
    const answer = await get(`${url}hello?name=${name}`)
    expect(answer.status).toBe(200)
    expect(JSON.parse(textOf(answer))).toEqual({ greeting: `Hello, ${name}!` })
    const described = await get(`http://${name}.${at.market.gateway.domain}/_/d/${deployed.cid}`)
    expect(JSON.parse(textOf(described))).toMatchObject({
      programId: deployed.programId,
      program: deployed.program,
    })
  }
})

test('a deployed zip has the ids that were computed offline, and params change the programId only', async () => {
  const { path, program, programId } = (await at.user.run(['build', 'app', '--json'])).json<
    Deployed & { path: string }
  >()
  const plain = (await deploy(path, '--provider', 'alice', '--json')).json<Deployed>()
  expect(plain).toMatchObject({ program, programId })
  const other = (await deploy(path, '--provider', 'alice', '--params', '{"a":1}', '--json')).json<Deployed>()
  expect(other.program).toBe(program)
  expect(other.programId).not.toBe(programId)
})

test('64 KiB of secrets reach the program, are in no answer of the keeper, and the developer was told who reads them', async () => {
  const secret = `="'\`\n გ😀 # $\\`.repeat(4100)
  await writeTeller('teller', `BIG="${secret.replace(/["\\$]/g, '\\$&')}"\nTOKEN_NAME=a=b=c\n`)
  const { json, stderr } = await deploy('teller', '--provider', 'alice', '--json')
  const { cid, sealed, urls } = json<Deployed>()
  expect(stderr).toContain('WHOEVER RUNS ALICE CAN READ THEM')
  expect(sealed).toBe(true)
  const answer = await get(urls['alice'] as string)
  expect(JSON.parse(textOf(answer))).toEqual({ env: { BIG: secret, TOKEN_NAME: 'a=b=c' }, params: {} })
  const kept = textOf(await get(`${at.market.gateway.url.origin}/ipfs/${cid}?format=raw`))
  for (const part of ['TOKEN_NAME', 'a=b=c', secret.slice(0, 12)]) expect(kept).not.toContain(part)
  const bob = await get(`http://bob.${at.market.gateway.domain}/${cid}/`)
  expect(JSON.parse(textOf(bob))).toMatchObject({ code: 'deployment_not_for_provider' })
})

test('a public deployment is plain, may be run by anybody, and takes no secrets', async () => {
  await writeTeller('open', 'SECRET=1')
  expect((await deploy('open', '--public', '--json')).json()).toMatchObject({ code: 'usage_invalid' })
  const { cid, sealed } = (
    await deploy('open', '--public', '--no-env', '--params', '{"x":1}', '--json')
  ).json<Deployed>()
  expect(sealed).toBe(false)
  expect(textOf(await get(`${at.market.gateway.url.origin}/ipfs/${cid}?format=raw`))).toContain(
    '"params":{"x":1}',
  )
  const answer = await get(`http://bob.${at.market.gateway.domain}/${cid}/`)
  expect(JSON.parse(textOf(answer))).toEqual({ env: {}, params: { x: 1 } })
})

test('a program of several blocks is deployed and runs', async () => {
  await writeTeller('large', '')
  await mkdir(join(at.user.dir, 'large', 'static'))
  await writeFile(join(at.user.dir, 'large', 'static', 'data.bin'), Buffer.alloc(3 * 2 ** 20, 'khachapuri'))
  const { program, urls } = (await deploy('large', '--provider', 'bob', '--json')).json<Deployed>()
  expect(program).toMatch(/^bafybei/)
  expect((await get(urls['bob'] as string)).status).toBe(200)
})

test('what a program may reach is told before it is signed, and kept to by those who offer it', async () => {
  const file = join(at.user.dir, 'app', 'khachapuri.json')
  const manifest = JSON.parse(await readFile(file, 'utf8'))
  const origins = ['https://api.example.com', 'http://plain.example.com:8080']
  await writeFile(file, JSON.stringify({ ...manifest, limits: { egress: origins } }))
  const listed = await deploy('app', '--provider', 'alice', '--json')
  expect(listed.stderr).toContain(`It may reach ${origins.join(', ')}.`)
  const { cid } = listed.json<Deployed>()
  const described = await get(`http://alice.${at.market.gateway.domain}/_/d/${cid}`)
  expect(JSON.parse(textOf(described))).toMatchObject({ limits: { egress: origins } })

  const narrowed = await deploy('app', '--provider', 'alice', '--egress', origins[0]!, '--dry-run')
  expect(narrowed.stderr).toContain('It may reach https://api.example.com.')
  const closed = await deploy('app', '--provider', 'alice', '--egress', 'none', '--dry-run')
  expect(closed.stderr).toContain('It may reach nothing: no network.')

  const open = await deploy('app', '--provider', 'alice', '--egress', 'public', '--json')
  expect(open.exitCode).toBe(1)
  expect(open.json()).toMatchObject({
    code: 'egress_refused',
    detail: expect.stringContaining('It offers "listed"'),
  })
  // A provider that was not asked before refuses all the same.
  const elsewhere = await deploy('app', '--public', '--egress', 'public', '--json')
  const call = await get(`http://alice.${at.market.gateway.domain}/${elsewhere.json<Deployed>().cid}/`)
  expect(call.status).toBe(403)
  expect(JSON.parse(textOf(call))).toMatchObject({ code: 'egress_refused' })

  for (const wrong of [
    'everything',
    'api.example.com',
    'https://api.example.com/',
    'ftp://api.example.com',
    'http://x.example:22',
  ]) {
    expect(await deploy('app', '--provider', 'alice', '--egress', wrong), wrong).toMatchObject({
      exitCode: 2,
    })
  }
  await writeFile(file, JSON.stringify(manifest))
})

test('callers pay with a pass where the owner does not', async () => {
  const { cid, urls } = (
    await deploy('app', '--provider', 'alice', '--payer', 'caller', '--json')
  ).json<Deployed>()
  const url = `${urls['alice']}hello`
  expect((await get(url)).status).toBe(402)
  const made = await at.user.run(
    `pass create --account payer --provider alice --max-price 0.001 --max-spend 0.1 --deployment ${cid}`.split(
      ' ',
    ),
  )
  const answer = await get(url, { authorization: `Bearer ${made.stdout.trim()}` })
  expect(answer.status).toBe(200)
})

test('without a grant the deployment stands, and the developer is told what to approve', async () => {
  const { exitCode, stderr } = await deploy('app', '--provider', 'alice', '--account', 'alice')
  expect(exitCode).toBe(0)
  expect(stderr).toContain('(missing). They will be refused')
  expect(stderr).toContain('khachapuri approve alice --price 0.0005 --budget 0.5')
})

test('a dry run publishes nothing and prints the ids', async () => {
  const { exitCode, json } = await deploy('app', '--provider', 'alice', '--dry-run', '--json')
  expect(exitCode).toBe(0)
  expect(json()).toMatchObject({ dryRun: true, providers: ['alice'], programId: expect.any(String) })
  expect(json()).not.toHaveProperty('cid')
})

test.each([
  ['nobody to run it', ['app'], 'usage_invalid'],
  ['an unknown provider', ['app', '--provider', 'nobody'], 'provider_unknown'],
  ['no program', ['nothing', '--provider', 'alice'], 'program_invalid'],
  ['a payer of no kind', ['app', '--provider', 'alice', '--payer', 'bank'], 'usage_invalid'],
  ['too much time', ['app', '--provider', 'alice', '--timeout', '9999999'], 'usage_invalid'],
  ['too much memory', ['app', '--provider', 'alice', '--memory', '100000'], 'usage_invalid'],
  [
    'an origin with a path',
    ['app', '--provider', 'alice', '--origin', 'https://x.example/path'],
    'usage_invalid',
  ],
  ['an amount that is none', ['app', '--provider', 'alice', '--owner-per-day', 'much'], 'usage_invalid'],
  [
    'a keeper that is away',
    ['app', '--provider', 'alice', '--keeper', 'http://127.0.0.1:1'],
    'keeper_unreachable',
  ],
  ['a secret with the name of the params', ['named', '--provider', 'alice'], 'config_invalid'],
  ['a missing env file', ['app', '--provider', 'alice', '--env-file', 'none'], 'config_invalid'],
])('%s is refused', async (_what, argv, code) => {
  if (argv[0] === 'named') await writeTeller('named', 'params=1')
  const { exitCode, json } = await deploy(...argv, '--json')
  expect(exitCode).toBe(code === 'usage_invalid' ? 2 : 1)
  expect(json()).toMatchObject({ code })
})

/** A keeper that takes every upload and answers this. */
const createLiar = (answerOf: (root: string) => unknown) =>
  listen({
    host: '127.0.0.1',
    port: 0,
    shutdownTimeoutMs: 0,
    onRequest(request, response) {
      const root = new URL(request.url ?? '/', 'http://keeper').searchParams.get('root')
      request.resume().on('end', () => {
        response.writeHead(root === null ? 404 : 201, ['content-type', 'application/json'])
        response.end(JSON.stringify(root === null ? {} : answerOf(root)))
      })
    },
  })

test.each([
  [
    'keeps something else',
    () => ({ root: `bafkrei${'a'.repeat(52)}`, bytes: 1, expiresAtMs: 1 }),
    'cid_mismatch',
  ],
  ['has forgotten at once', (root: string) => ({ root, bytes: 1, expiresAtMs: 1 }), 'cid_not_found'],
  ['answers nonsense', () => 'thanks', 'keeper_unreachable'],
])('a keeper that %s is no place to deploy to', async (_what, answerOf, code) => {
  await using liar = await createLiar(answerOf)
  const { exitCode, json } = await deploy('app', '--provider', 'alice', '--keeper', liar.url.href, '--json')
  expect(exitCode).toBe(1)
  expect(json()).toMatchObject({ code })
})

test('a provider that lies about the programId is caught, with both ids', async () => {
  await using lying = await createUserInMarket({ fault: 'wrong-id' })
  const { programId } = (await lying.user.run(['build', 'app', '--json'])).json<Deployed>()
  const { exitCode, stderr, stdout } = await lying.user.run(['deploy', 'app', '--provider', 'alice'])
  expect(exitCode).toBe(1)
  expect(stdout).toBe('')
  expect(stderr).toContain(`and it is ${programId}.`)
  expect(stderr).toMatch(/it says that the programId is 0x[0-9a-f]{64}, and/)
})
