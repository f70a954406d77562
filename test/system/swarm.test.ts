import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Address } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { MarketAccount } from '../../devnet/market.ts'
import type { DashboardView } from '../../gateway/dashboard/dashboard-view.ts'
import { createGateway, type Gateway } from '../../gateway/gateway.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { createSeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { headerValues } from '../../protocol/http/headers.ts'
import { limits } from '../../protocol/limits.ts'
import { parseMember } from '../../protocol/swarm/member.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { curl } from '../support/curl.ts'
import { type Deployed, nothing, openMarket, type TestMarket } from '../support/market.ts'

const names = ['alice', 'bob', 'carol', 'dave', 'erin']
const named = names.flatMap((name) => ['--provider', name])
const priceUsdc = 500n
const factorFolder = join(import.meta.dirname, '../../examples/factor')

let market: TestMarket
let factor: Deployed
let pass: string
let voucherer: MarketAccount
let addresses: Map<string, Address>

/** Five providers, of whom dave lies, and a payer with grants for all of them. */
beforeAll(async () => {
  market = await openMarket()
  addresses = new Map(Object.entries(market.dev.providers).map(([name, { address }]) => [name, address]))
  for (const name of names.slice(2)) {
    const provider = await market.startProvider(name, name === 'dave' ? { fault: 'flip-output' } : {})
    addresses.set(name, provider.address)
  }
  const grants = [...addresses.values()].map((provider) => ({
    provider,
    priceUsdc: parseUsdc('0.001'),
    budgetUsdc: parseUsdc('1'),
  }))
  const { account } = await market.createPayer({ name: 'swarmer', grants })
  pass = await market.pass({ payer: account.address, providers: [...addresses.values()] }, account)
  voucherer = await market.createPayer({
    name: 'voucherer',
    grants: grants.map((grant) => ({ ...grant, signer: 'payer' as const })),
  })
  factor = await market.deploy(factorFolder, '--public', ...named)
  // The gateway knows whom it was asked for once.
  for (const name of names) expect((await market.call({ provider: name, path: '/_/info' })).status).toBe(200)
})
afterAll(() => market[Symbol.asyncDispose]())

const swarm = (terms: string, provider = 'any') =>
  market.call({
    ...{ provider, cid: factor.cid, method: 'POST', pass, body: '{"num":600}' },
    rawHeaders: ['khachapuri-swarm', terms],
  })

test('one call to five: the answer once, the liar named and unpaid, and everybody else paid the price', async () => {
  let answer: Awaited<ReturnType<typeof swarm>> | undefined
  const costs = await market.costsOf(async () => {
    answer = await swarm('n=5, k=3, timeout=30')
  })
  expect([answer?.status, answer?.body.toString()]).toEqual([200, '2,2,2,3,5,5'])
  const rawHeaders = answer?.rawHeaders ?? []
  expect(headerValues(rawHeaders, 'khachapuri-verdict')).toEqual(['majority'])
  const members = headerValues(rawHeaders, 'khachapuri-swarm-member').map(parseMember)
  expect(new Map(members.map((member) => [String(member?.name), member?.state]))).toEqual(
    new Map(names.map((name) => [name, name === 'dave' ? 'differs' : 'agrees'])),
  )
  for (const member of members) expect(member?.address).toBe(addresses.get(member?.name ?? ''))
  const honest = names.filter((name) => name !== 'dave').map((name) => [name, priceUsdc])
  expect(costs).toEqual({ paid: { swarmer: 4n * priceUsdc }, earned: Object.fromEntries(honest) })

  // The gateway tells of it afterwards, and anybody checks what it tells; who lost the vote has a poor record.
  const [terms = ''] = headerValues(rawHeaders, 'khachapuri-swarm')
  const [, id = ''] = /swarm=(0x[0-9a-f]{64})/.exec(terms) ?? []
  const gateway = market.dev.gateway.url
  const record = JSON.parse(await (await fetch(new URL(`/_/swarms/${id}`, gateway))).text())
  expect(record).toMatchObject({
    swarm: id,
    verdict: 'majority',
    status: 200,
    terms: { members: 5, agreeing: 3 },
  })
  const receipt = record.members.find(({ name }: { name: string }) => name === 'alice').receipt
  expect(receipt).toContain(
    `/_/receipts/${members.find((member) => member?.name === 'alice')?.vote?.vote.callId}`,
  )
  await writeFile(join(market.user.dir, 'record.json'), JSON.stringify(record.proof))
  await writeFile(join(market.user.dir, 'answer'), answer?.body ?? '')
  const check = ['verify-swarm', 'record.json', '--on-chain', '--json']
  const checked = await market.user.run([...check, '--body', 'answer'])
  expect([checked.exitCode, checked.json()]).toMatchObject([0, { verdict: 'majority' }])
  await writeFile(join(market.user.dir, 'answer'), '2,300')
  expect((await market.user.run([...check, '--body', 'answer'])).exitCode).toBe(1)
  const { providers } = (await (await fetch(new URL('/_/dashboard', gateway))).json()) as DashboardView
  expect(new Map(providers.map(({ name, record: known }) => [name, known]))).toMatchObject(
    new Map(names.map((name) => [name, name === 'dave' ? 'poor' : 'new'])),
  )
})

/** Signs a set of vouchers for so many calls, as the account that has grants for them. */
async function createVouchers(of: readonly string[], calls: number): Promise<string> {
  const providers = of.flatMap((name) => ['--provider', name])
  const line = ['voucher', 'create', ...providers, '--calls', String(calls), '--max', '0.001']
  const created = await market.user.run(line, { env: { KHACHAPURI_PRIVATE_KEY: voucherer.privateKey } })
  expect(created.exitCode).toBe(0)
  return created.stdout.trim()
}

test('a set of vouchers pays whoever takes a call, once, and nothing is signed again', async () => {
  const vouchers = await createVouchers(['alice', 'bob'], 1)
  const url = `http://any.${market.dev.gateway.domain}/${factor.cid}/`
  const asked = ['--provider', 'carol', '--provider', 'alice', '--provider', 'bob']
  const line = ['call', url, '-d', '{"num":600}', '--vouchers', vouchers, ...asked, '--json']
  const ends = async (run: typeof market.user.run) => {
    const told = (await run(line)).json<{ attempts: { name: string; outcome: string; code?: string }[] }>()
    return told.attempts.map(({ name, outcome, code }) => [name, outcome, code])
  }
  const unasked = ['carol', 'unreached', 'voucher_not_for_provider']
  const usedUp = (name: string) => [name, 'refused', 'voucher_too_low']
  for (const [expected, costs] of [
    [[unasked, ['alice', 'answered', undefined]], { alice: priceUsdc }],
    [[unasked, usedUp('alice'), ['bob', 'answered', undefined]], { bob: priceUsdc }],
    [[unasked, usedUp('alice'), usedUp('bob')], {}],
  ] as const) {
    const moved = await market.costsOf(async () => expect(await ends(market.user.run)).toEqual(expected))
    const paid = Object.keys(costs).length > 0 ? { voucherer: priceUsdc } : {}
    expect(moved).toEqual({ paid, earned: costs })
  }
  // Who answered can prove it: of all that were asked one has charged, and so their books say.
  const again = await createVouchers(['alice', 'bob'], 1)
  const kept = await market.user.run(['call', `${url}once`, '--vouchers', again, ...asked, '-i'])
  await writeFile(join(market.user.dir, 'once.txt'), kept.stdout)
  const env = { KHACHAPURI_PRIVATE_KEY: voucherer.privateKey }
  const proven = await market.user.run(['verify', 'once.txt', '--once', '--among', 'bob', '--json'], { env })
  expect(proven.json<{ checks: unknown[] }>().checks.at(-1)).toEqual({
    ...{ name: 'once', verdict: 'ok', says: 'alice alone, of carol, alice, bob' },
  })
  // Somebody makes the same call again, at another provider.
  await market.user.run([
    'call',
    `${url}once`,
    '--vouchers',
    again,
    '--provider',
    'bob',
    '--provider',
    'carol',
  ])
  const twice = await market.user.run(['verify', 'once.txt', '--once', '--among', 'bob', '--json'], { env })
  expect([twice.exitCode, twice.json()]).toMatchObject([1, { code: 'charged_twice' }])

  // As many as a gateway tries for one call: each may be used up when another one is asked for.
  const four = names.slice(0, limits.routeAttemptsMax)
  const byGateway = await createVouchers(four, 1)
  const ask = () =>
    market.call({
      ...{ provider: 'any', cid: factor.cid, method: 'POST', body: '{"num":600}' },
      rawHeaders: ['khachapuri-voucher', byGateway],
    })
  const moved = await market.costsOf(async () => {
    for (const _ of four) expect((await ask()).status).toBe(200)
    expect((await ask()).problem()).toMatchObject({ code: 'voucher_too_low' })
  })
  const each = Object.fromEntries(four.map((name) => [name, priceUsdc]))
  expect(moved).toEqual({ paid: { voucherer: 4n * priceUsdc }, earned: each })
})

test('a set of vouchers pays for a swarm: those that agree, through a gateway or without one', async () => {
  const vouchers = await createVouchers(names, 2)
  const url = `http://any.${market.dev.gateway.domain}/${factor.cid}/`
  const line = ['swarm', 'call', url, '--n', '5', '--k', '3', '--timeout', '30', '-d', '{"num":600}']
  for (const flags of [[], ['--direct', ...named]]) {
    const moved = await market.costsOf(async () => {
      const run = await market.user.run([...line, '--vouchers', vouchers, ...flags])
      expect([run.exitCode, run.stdout]).toEqual([0, '2,2,2,3,5,5'])
    })
    const honest = names.filter((name) => name !== 'dave').map((name) => [name, priceUsdc])
    expect(moved).toEqual({ paid: { voucherer: 4n * priceUsdc }, earned: Object.fromEntries(honest) })
  }
})

test('what cannot be a swarm is refused with what is there, and costs nothing', async () => {
  const costs = await market.costsOf(async () => {
    for (const [terms, status, code, provider] of [
      ['n=6, k=3', 503, 'swarm_too_large', 'any'],
      ['n=3, k=4', 400, 'swarm_invalid', 'any'],
      ['n=3', 400, 'swarm_invalid', 'alice'],
    ] as const) {
      const answer = await swarm(terms, provider)
      expect([answer.status, JSON.parse(answer.body.toString())]).toEqual([
        status,
        expect.objectContaining({ code }),
      ])
    }
    const answer = JSON.parse((await swarm('n=6, k=3')).body.toString())
    expect(answer).toMatchObject({ members: 6, live: 5 })
    const alone = await swarm('n=5, k=5, timeout=30')
    expect([alone.status, JSON.parse(alone.body.toString())]).toEqual([
      502,
      expect.objectContaining({ code: 'no_consensus', verdict: 'different' }),
    ])
  })
  expect(costs).toEqual(nothing)
})

test('the command line checks all of it, by a gateway or without one, and again offline', async () => {
  const { user, dev } = market
  const url = `http://any.${dev.gateway.domain}/${factor.cid}/`
  const line = [
    'swarm',
    'call',
    url,
    '--n',
    '5',
    '--k',
    '3',
    '--timeout',
    '30',
    '-d',
    '{"num":600}',
    '--pass',
    pass,
  ]
  for (const flags of [[], ['--direct', ...named]]) {
    const { exitCode, stdout, stderr } = await user.run([...line, '-o', 'out.json', ...flags])
    expect([exitCode, stdout, stderr.includes('LIAR   liar dave')]).toEqual([0, '2,2,2,3,5,5', true])
    const offline = await user.run(['verify-swarm', 'out.json', '--json'])
    expect(offline.exitCode).toBe(0)
    const { checks } = JSON.parse(offline.stdout) as { checks: { name: string; verdict: string }[] }
    expect(checks.filter(({ verdict }) => verdict === 'liar').map(({ name }) => name)).toEqual(['liar dave'])
    expect(checks.filter(({ name }) => name.startsWith('receipt')).map(({ verdict }) => verdict)).toEqual(
      Array.from({ length: 4 }, () => 'ok'),
    )
  }
  const path = join(user.dir, 'out.json')
  const kept = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ ...kept, body: Buffer.from('2,2,2,3,5,7').toString('base64') }))
  const altered = await user.run(['verify-swarm', 'out.json', '--json'])
  expect([altered.exitCode, JSON.parse(altered.stdout)]).toEqual([
    1,
    expect.objectContaining({ code: 'swarm_differs', wrong: ['answer'] }),
  ])
})

test('answers that differ where the program says it does not matter are the same', async () => {
  const folder = join(market.user.dir, 'noise')
  await mkdir(folder)
  const compare = { fields: ['/sum'] }
  const manifest = { name: 'noise', entry: 'index.js', compare }
  await writeFile(join(folder, 'khachapuri.json'), JSON.stringify(manifest))
  const answer = 'Response.json({ sum: 7, id: crypto.randomUUID() })'
  await writeFile(join(folder, 'index.js'), `export default { fetch: () => ${answer} }`)
  const { cid } = await market.deploy(folder, '--public', ...named)
  const rawHeaders = ['khachapuri-swarm', 'n=5, k=3, timeout=30']
  const told = await market.call({ provider: 'any', cid, pass, rawHeaders })
  expect([told.status, JSON.parse(told.body.toString())]).toEqual([200, expect.objectContaining({ sum: 7 })])
  expect(headerValues(told.rawHeaders, 'khachapuri-verdict')).toEqual(['majority'])
})

/** A gateway that has the same chain and names, and lies about what came of swarms. */
function openForger(): Promise<Gateway> {
  const { client, contracts, gateway } = market.dev
  const base = { clock: systemClock, log: createTestLog() }
  return createGateway(
    {
      ...base,
      names: createNameReader({ ...base, client }, { registry: contracts.registry }),
      seedBlocks: createSeedBlocks({ ...base, client }),
      openTunnels: () => ({
        upstreamFor: () => undefined,
        hasTunnel: () => false,
        connected: () => [],
        upgrade: (_, socket) => void socket.destroy(),
        recheck: async () => undefined,
        drain: async () => undefined,
        [Symbol.asyncDispose]: async () => undefined,
      }),
      async fetchSpec(cid) {
        const answer = await fetch(new URL(`/ipfs/${cid}?format=raw`, gateway.info.keeper))
        return new Uint8Array(await answer.arrayBuffer())
      },
    },
    {
      ...{ host: '127.0.0.1', port: 0, allowPrivate: true, fault: 'forge-swarm' },
      info: { ...contracts, peers: [], version: 'test' },
    },
  )
}

test('what a gateway forges is no answer: the registry has other accounts than those that signed', async () => {
  const { user, dev } = market
  const alone = await market.deploy(factorFolder, '--public', '--provider', 'alice')
  await using forger = await openForger()
  // From then on it knows her.
  const known = await curl({ port: forger.port, host: `alice.${forger.domain}`, path: '/_/info' })
  expect(known.status).toBe(200)
  const callAt = (gateway: Gateway) => {
    const url = `http://any.${gateway.domain}/${alone.cid}/`
    const terms = ['--n', '1', '--k', '1', '--timeout', '30']
    return user.run(['swarm', 'call', url, ...terms, '-d', '{"num":600}', '--pass', pass])
  }
  expect(await callAt(dev.gateway)).toMatchObject({ exitCode: 0, stdout: '2,2,2,3,5,5' })
  const forged = await callAt(forger)
  expect([forged.exitCode, forged.stdout]).toEqual([1, ''])
  expect(forged.stderr).toContain('WRONG  member alice')
})

test('a receipt is held against what its provider published on chain, once its settlement is there', async () => {
  const { user } = market
  const [alice, dave] = await Promise.all(
    ['alice', 'dave'].map((provider) =>
      market.call({ provider, cid: factor.cid, pass, method: 'POST', body: '{"num":6}' }),
    ),
  )
  await writeFile(join(user.dir, 'paid'), alice?.header('khachapuri-receipt') ?? '')
  const verify = async (provider: string) => {
    const run = await user.run(['verify', 'paid', '--provider', provider, '--on-chain', '--json'])
    const { code, checks } = run.json<{ code?: string; checks: { name: string; verdict: string }[] }>()
    return [run.exitCode, code, checks.find(({ name }) => name === 'root')?.verdict]
  }
  expect(await verify('alice')).toEqual([1, 'root_unpublished', 'open'])
  await market.settle()
  expect(await verify('alice')).toEqual([0, undefined, 'ok'])
  // Another provider's is none of hers, and she is not asked.
  await writeFile(join(user.dir, 'paid'), dave?.header('khachapuri-receipt') ?? '')
  expect(await verify('alice')).toEqual([1, 'receipt_differs', undefined])
})

const sqlite = join(import.meta.dirname, '../../examples/sqlite')
const question = 'SELECT item, sum(quantity) FROM orders GROUP BY item ORDER BY random()'

test('who runs a recorded call again finds the liar that nobody out-voted, and proves it to anybody', async () => {
  const { user } = market
  const recorded = await market.deploy(sqlite, '--public', '--record', '1h', ...named)
  const ask = async (provider: string) => {
    const answer = await market.call({
      provider,
      cid: recorded.cid,
      method: 'POST',
      path: '/?a',
      pass,
      body: question,
    })
    expect(answer.status).toBe(200)
    await writeFile(join(user.dir, `${provider}.receipt`), answer.header('khachapuri-receipt') ?? '')
    return answer
  }
  const described = await market.call({ path: `/_/d/${recorded.cid}` })
  expect(described.json()).toMatchObject({ record: { seconds: 3600 } })
  const honest = await ask('alice')
  const same = await user.run(['replay', 'alice.receipt', '--provider', 'alice', '--json'])
  expect([same.exitCode, same.json()]).toMatchObject([0, { found: { status: 200 } }])
  expect(JSON.parse(honest.body.toString())).toMatchObject({ isWhole: true })

  await ask('dave')
  const line = ['replay', 'dave.receipt', '-o', 'fraud.json', '--json']
  const lied = await user.run([...line, '--provider', 'dave'])
  const proof = { code: 'replay_differs', provider: addresses.get('dave') }
  expect([lied.exitCode, lied.json()]).toMatchObject([1, proof])
  // Somebody else, who has nothing but the report.
  const checked = await user.run(['replay', 'fraud.json', '--json', '--account', 'nobody'])
  expect([checked.exitCode, checked.json()]).toMatchObject([1, proof])
  const path = join(user.dir, 'fraud.json')
  // It counts in dave's reputation, once, and running it again proves it.
  await mkdir(join(user.dir, 'kept'))
  for (const name of ['fraud.json', 'again.json', 'dave.receipt', 'alice.receipt'])
    await copyFile(name === 'again.json' ? path : join(user.dir, name), join(user.dir, 'kept', name))
  const judged = await user.run(['reputation', 'dave', '--receipts', 'kept', '--replay', '--json'])
  expect([judged.exitCode, judged.json()]).toMatchObject([
    0,
    {
      inputs: { receipts: 1, reports: 1 },
      disputes: { reports: 1, replayed: { proven: 1, refuted: 0, open: 0 } },
      refused: { foreign: 1, forged: 0, duplicate: 1, unreadable: 0 },
    },
  ])
  const report = JSON.parse(await readFile(path, 'utf8'))
  await writeFile(path, JSON.stringify({ ...report, madeAt: report.madeAt + 1 }))
  const altered = await user.run(['replay', 'fraud.json', '--json'])
  expect([altered.exitCode, altered.json()]).toMatchObject([1, { code: 'signature_invalid' }])

  // Who has kept what it asked with needs no record, and another request is not this call's.
  await writeFile(join(user.dir, 'asked.sql'), question)
  for (const [target, code] of [
    [`/${recorded.cid}/?a`, 'replay_differs'],
    ['/?b', 'receipt_differs'],
  ] as const) {
    const kept = await user.run([...line, '--request', `POST ${target}`, '--data', 'asked.sql'])
    expect([kept.exitCode, kept.json()]).toMatchObject([1, { code }])
  }
})

test('what cannot be run again is said to be so', async () => {
  const { user } = market
  const unrecorded = await market.deploy(sqlite, '--public', ...named)
  for (const [cid, path] of [
    [factor.cid, '/'],
    [unrecorded.cid, '/?sql=SELECT+1'],
  ] as const) {
    const answer = await market.call({ cid, path, pass })
    await writeFile(join(user.dir, 'receipt'), answer.header('khachapuri-receipt') ?? '')
    const refused = await user.run(['replay', 'receipt', '--provider', 'alice', '--json'])
    expect([refused.exitCode, refused.json()]).toMatchObject([1, { code: 'replay_impossible' }])
  }
  const example = join(import.meta.dirname, '../../examples')
  for (const [program, ...flags] of [
    ['factor', '--public'],
    ['sqlite', '--provider', 'alice'],
    ['sqlite', '--public', '--record', '91d'],
  ]) {
    const refused = await user.run([
      'deploy',
      join(example, program ?? ''),
      '--record',
      '1h',
      ...flags,
      '--json',
    ])
    expect(refused.exitCode).toBe(2)
  }
})
