import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CurlAnswer, curl } from '../../../test/support/curl.ts'
import { createUserInMarket, type UserInMarket } from '../../market/testing-user.ts'

let at: UserInMarket
/** CIDs of two deployments of the same program, which say different things. */
let hello: string
let hi: string
beforeAll(async () => {
  at = await createUserInMarket()
  const deploy = async (greeting: string) => {
    await writeFile(join(at.user.dir, 'app', '.env'), `GREETING=${greeting}\n`)
    const line = ['deploy', 'app', '--provider', 'alice', '--provider', 'bob', '--json']
    const { cid } = (await at.user.run(line)).json<{ cid: string }>()
    return cid
  }
  hello = await deploy('Hello')
  hi = await deploy('Hi')
})
afterAll(() => at[Symbol.asyncDispose]())

const call = (host: string, path = '/'): Promise<CurlAnswer> =>
  curl({ port: at.market.gateway.port, host: `${host}.${at.market.gateway.domain}`, path })
const run = (line: string) => at.user.run(line.split(' '))

test('a name is registered, called, pointed elsewhere and back; each CID goes on answering', async () => {
  const registered = await run(`name register thumbs ${hello} --provider alice --provider bob --yes --json`)
  expect(registered).toMatchObject({ exitCode: 0 })
  expect(registered.json()).toMatchObject({
    name: 'thumbs',
    url: `http://thumbs.${at.market.gateway.domain}/`,
    cid: hello,
    providers: ['alice', 'bob'],
    registered: [
      'make a resolver',
      `point thumbs to ${hello}`,
      'commit to a name',
      `let ${at.market.contracts.registry} take 5 USDC`,
      'register thumbs',
    ],
  })
  const first = await call('thumbs', '/hello?name=Ada')
  expect(first.text).toBe('{"greeting":"Hello, Ada!"}')
  expect(['alice', 'bob']).toContain(first.header('khachapuri-provider'))

  const set = await run(`name set thumbs ${hi} --yes --json`)
  expect(set.json()).toMatchObject({ cid: hi, before: hello, providers: ['alice', 'bob'] })
  expect(set.json()).toMatchObject({ isFollowed: true })
  const says = async (greeting: string) =>
    expect((await call('thumbs', '/hello')).text).toBe(`{"greeting":"${greeting}, world!"}`)
  await says('Hi')
  for (const [provider, cid, greeting] of [
    ['alice', hello, 'Hello'],
    ['bob', hi, 'Hi'],
    ['any', hello, 'Hello'],
    ['any', hi, 'Hi'],
  ] as const) {
    expect((await call(provider, `/${cid}/hello`)).text).toBe(`{"greeting":"${greeting}, world!"}`)
    expect((await call(`${cid}.${provider}`, '/hello')).text).toBe(`{"greeting":"${greeting}, world!"}`)
  }

  const back = await run('name rollback thumbs --yes --json')
  expect(back.json()).toMatchObject({ cid: hello, before: hi })
  await says('Hello')
  expect((await run('name rollback thumbs --yes --json')).json()).toMatchObject({ cid: hi, before: hello })
  await says('Hi')
})

test('a deploy points a name in the same command; a name that is not there or not ours stops it before anything is published', async () => {
  await writeFile(join(at.user.dir, 'app', '.env'), 'GREETING=Servus\n')
  const before = await run('name show thumbs --json')
  const deployed = await run('deploy app --provider alice --name thumbs --json')
  expect(deployed.exitCode).toBe(0)
  const { cid, name } = deployed.json<{ cid: string; name: object }>()
  expect(name).toMatchObject({ name: 'thumbs', cid, before: hi, providers: ['alice'], isFollowed: true })
  expect((await call('thumbs', '/hello')).text).toBe('{"greeting":"Servus, world!"}')
  for (const [options, code] of [
    ['--name nothing', 'name_unknown'],
    ['--name alice', 'name_records_invalid'],
    ['--name thumbs --account alice', 'name_taken'],
  ] as const) {
    const refused = await run(`deploy app --provider alice ${options} --json`)
    expect(refused.exitCode).not.toBe(0)
    expect(refused.stdout + refused.stderr).toContain(code)
    expect(refused.stderr).not.toContain('Published')
  }
  expect(before.json()).toMatchObject({ cid: hi })
  await run(`name set thumbs ${hi} --provider alice --provider bob --yes`)
})

test('what a name stands for is shown, and listed with the other names of its owner', async () => {
  expect(
    (await run('name show thumbs')).stdout.replace(/0x[0-9A-Fa-f]{40}|\d{4}-\S+.*|:\d{2,5}\//g, '…'),
  ).toBe(`thumbs
  url        http://thumbs.localhost…
  cid        ${hi}
  providers  alice, bob
  owner      …
  resolver   …
  expires    …
`)
  const { names } = (await run('name list --json')).json<{ names: object[] }>()
  expect(names).toMatchObject([{ name: 'thumbs', kind: 'deployment', cid: hi, providers: ['alice', 'bob'] }])
  const ofAlice = (await run('name list alice --json')).json<{ names: object[] }>()
  expect(ofAlice.names).toMatchObject([{ name: 'alice', kind: 'provider', cid: null }])
  const { expiry } = (await run('name renew thumbs --yes --json')).json<Record<string, number>>()
  const [first] = names as { expiry: number }[]
  expect(expiry).toBe(first!.expiry + 365 * 24 * 3600)
})

test('other providers serve it from the next call on, or any that does', async () => {
  const only = await run('name set thumbs --provider bob --yes --json')
  expect(only.json()).toMatchObject({ cid: hi, providers: ['bob'] })
  const served = await Promise.all([1, 2, 3, 4].map(() => call('thumbs', '/hello').then(servedBy)))
  expect(new Set(served)).toEqual(new Set(['bob']))
  expect((await run('name set thumbs --any-provider --yes --json')).json()).toMatchObject({ providers: [] })
  expect((await call('thumbs', '/hello')).text).toBe('{"greeting":"Hi, world!"}')
  expect(await run('name set thumbs --any-provider --yes')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('It is so already.'),
  })
})

test('a name that is given back brings its bond, and nobody is found under it', async () => {
  const registered = await run(`name register fleeting ${hello} --provider alice --yes`)
  expect(registered).toMatchObject({ exitCode: 0 })
  const status = async () => (await call('fleeting', '/hello')).status
  await expect.poll(status).toBe(200)
  const wallet = async () => BigInt((await run('balance --json')).json<{ walletUsdc: string }>().walletUsdc)
  const before = await wallet()
  const plan = await run('name release fleeting --dry-run --json')
  expect(plan.json()).toMatchObject({ dryRun: true, bondUsdc: '5000000', steps: ['give fleeting back'] })
  expect((await run('name release fleeting --yes --json')).json()).toMatchObject({ name: 'fleeting' })
  expect(await wallet()).toBe(before + 5_000_000n)
  expect((await run('name show fleeting --json')).json()).toMatchObject({ code: 'name_unknown' })
  await expect.poll(status).toBe(404)
})

const servedBy = (answer: CurlAnswer) => answer.header('khachapuri-provider')

test.each([
  ['a name that is a provider’s', 'name set alice CID --yes', 'name_records_invalid'],
  ['a name that nobody has', 'name show nothing', 'name_unknown'],
  ['a name that is taken', 'name register alice CID --yes', 'name_taken'],
  ['a name that is one’s own already', 'name register thumbs CID --yes', 'usage_invalid'],
  ['a name of somebody else', 'name set thumbs CID --account alice --yes', 'name_taken'],
  [
    "somebody else's name that would be given back",
    'name release thumbs --account alice --yes',
    'name_taken',
  ],
  ['a reserved name', 'name register any CID --yes', 'name_malformed'],
  ['a name of another script', 'name register xn--bcher-kva CID --yes', 'name_malformed'],
  ['a name with a dot', 'name register a.b CID --yes', 'name_malformed'],
  ['a CID that is none', 'name register other ::garbage --yes', 'cid_malformed'],
  ['a provider that is none', 'name register other CID --provider http://127.0.0.1 --yes', 'name_malformed'],
  ['a provider that nobody knows', 'name register other CID --provider nobody --yes', 'provider_unknown'],
  ['nothing to change', 'name set thumbs --yes', 'usage_invalid'],
  ['a name without a past', 'name rollback lonely --yes', 'name_unknown'],
])('%s is refused before anything is sent', async (_, line, code) => {
  const result = await run(`${line.replace('CID', hello)} --json`)
  expect(result.exitCode).not.toBe(0)
  expect(result.stdout + result.stderr).toContain(code)
})

test('a name that was set once has no deployment before; a dry run changes nothing', async () => {
  await run(`name register once ${hello} --yes`)
  expect((await run('name rollback once --yes --json')).stdout).toContain('version_unknown')
  expect((await run(`name set once ${hi} --dry-run --json`)).json()).toMatchObject({ dryRun: true, cid: hi })
  expect((await run('name show once --json')).json()).toMatchObject({ cid: hello, providers: [] })
  // Its secret is in nobody's arguments: there is no such flag.
  const key = await run(`name set once ${hi} --private-key 0x11 --yes`)
  expect(key).toMatchObject({ exitCode: 2 })
  expect(key.stderr).not.toContain('0x11')
})

test('a domain of one’s own serves a deployment by its CID or its name; the API stays where it is', async () => {
  const ask = (host: string, path: string) => curl({ port: at.market.gateway.port, host, path })
  expect((await ask('oracle.test', '/hello')).problem()).toMatchObject({ status: 421, code: 'host_unknown' })
  const added = (await run(`domain add oracle.test ${hello} --provider alice --json`)).json()
  const { port } = at.market.gateway
  expect(added).toMatchObject({
    kind: 'deployment',
    cid: hello,
    providers: ['alice'],
    url: `http://oracle.test:${port}/`,
    record: {
      name: '_khachapuri.oracle.test',
      type: 'TXT',
      value: `khachapuri=${hello} providers=alice`,
    },
  })
  expect((await run(`domain add oracle.test ${hello} --provider alice`)).stdout).toContain(
    `curl --resolve oracle.test:${port}:127.0.0.1 http://oracle.test:${port}/`,
  )
  expect((await ask(`oracle.test:${port}`, '/hello?name=Ada')).text).toBe('{"greeting":"Hello, Ada!"}')
  expect((await ask(at.market.gateway.domain, '/_/info')).status).toBe(200)
  await run('domain add www.oracle.test once')
  expect((await ask('www.oracle.test', '/hello')).text).toBe('{"greeting":"Hello, world!"}')
  expect((await run('domain show www.oracle.test')).stdout).toBe('www.oracle.test  the name once\n')
  expect((await run('domain remove oracle.test --json')).json()).toEqual({ domain: 'oracle.test' })
  expect((await run('domain show oracle.test --json')).stdout).toContain('domain_unproven')
  expect((await ask('oracle.test', '/hello')).status).toBe(421)
})

test('elsewhere than in a local market the record to set is shown, and looked for', async () => {
  const { gateway, chain } = at.market
  const away = ['--gateway', gateway.url.origin, '--rpc', chain.rpcUrl.origin, '--json']
  const shown = await at.user.run(['domain', 'add', 'shop.test', 'once', ...away])
  expect(shown.exitCode).toBe(1)
  expect(JSON.parse(shown.stdout)).toMatchObject({
    code: 'domain_unproven',
    hint: 'Set the record _khachapuri.shop.test TXT "khachapuri=once", point shop.test to localhost (CNAME), and run this again.',
  })
  for (const domain of ['localhost', 'a_b.test', 'http://x.test', 'x.test/path', '127.0.0.1', '10.0.0.1'])
    expect((await at.user.run(['domain', 'add', domain, 'once', ...away])).exitCode).toBe(2)
})
