import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { Address, PrivateKeyAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { type CallAttempt, parseAttempt } from '../../protocol/call-attempt.ts'
import type { ReputationReader } from '../../protocol/chain/reputation-reader.ts'
import { type ErrorCode, ProtocolError, problemType } from '../../protocol/errors.ts'
import { headerValues } from '../../protocol/http/headers.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { formatContenthash } from '../../protocol/ipfs/contenthash.ts'
import { limits } from '../../protocol/limits.ts'
import { anyDeployment, signPass } from '../../protocol/pass.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { formatVoucherToken, signVoucherAccess } from '../../protocol/voucher-token.ts'
import { accountOf, type FrontAnswer, openGatewayFront } from '../../test/support/gateway-front.ts'
import { openOrigin } from '../../test/support/http-origin.ts'

const cidOf = (text: string) => cidOfRawDigest(sha256(utf8.encode(text)))
const cid = cidOf('spec')
const thumbs = 'thumbs.localhost'
const named = (providers: string, of = cid) => ({ contenthash: formatContenthash(of), providers })

/** A provider that answers its path, and what it has been told. */
const openProvider = (name: string) =>
  openOrigin((request, response) => {
    // Only the gateway says why it chose somebody.
    response.writeHead(200, { 'khachapuri-call': '0x01', 'khachapuri-route': 'me; why=best' })
    response.end(`${name} ${request.url}`)
  })

function refuse(response: ServerResponse, code: ErrorCode, headers = {}): void {
  const error = new ProtocolError(code, 'No.', { hint: 'Ask another.' })
  const body = JSON.stringify(error.toProblem())
  response.writeHead(error.status, { 'content-type': problemType, 'content-length': body.length, ...headers })
  response.end(body)
}

test('a deployment’s name is called like its CID at its provider, and says who answered', async () => {
  await using alice = await openProvider('alice')
  await using front = await openGatewayFront({ alice: alice.url })
  front.deployments.set('thumbs', named('alice'))
  for (const [path, seen] of [
    ['/cat.jpg', '/cat.jpg'],
    ['/', '/'],
    ['/a%20b/../c?d=e', '/a%20b/../c?d=e'],
    [`/${cid}`, `/${cid}`],
  ]) {
    const answer = await front.ask(thumbs, { path: path as string })
    expect(answer.body.toString()).toBe(`alice /${cid}${seen}`)
    expect(answer.headers['khachapuri-provider']).toBe('alice')
    expect(answer.headers['khachapuri-route']).toBe(
      'alice; why=only_one; among=1; of=1; try=1; share=100; record=new',
    )
  }
  const direct = await front.ask('alice.localhost', { path: `/${cid}/cat.jpg` })
  expect(direct.body.toString()).toBe(`alice /${cid}/cat.jpg`)
  expect(direct.headers).not.toHaveProperty('khachapuri-provider')
  expect(direct.headers).not.toHaveProperty('khachapuri-route')
})

test('a new CID moves traffic with its event; the old one still answers, and comes back the same way', async () => {
  await using alice = await openProvider('alice')
  await using front = await openGatewayFront({ alice: alice.url })
  const second = cidOf('second')
  front.deployments.set('thumbs', named('alice'))
  expect((await front.ask(thumbs)).body.toString()).toBe(`alice /${cid}/`)
  for (const next of [second, cid]) {
    front.deployments.set('thumbs', named('alice', next))
    front.change('thumbs')
    await new Promise((resolve) => setImmediate(resolve))
    expect((await front.ask(thumbs)).body.toString()).toBe(`alice /${next}/`)
    expect((await front.ask('alice.localhost', { path: `/${cid}/` })).status).toBe(200)
  }
})

test('records that are none are told as such, and harm no other name', async () => {
  await using alice = await openProvider('alice')
  await using front = await openGatewayFront({ alice: alice.url })
  front.deployments.set('thumbs', named('alice'))
  for (const providers of ['::garbage', 'localhost:4000', 'http://169.254.169.254', 'alice.example']) {
    front.deployments.set('bad', named(providers))
    front.change('bad')
    expect(await front.ask('bad.localhost')).toMatchObject({ status: 502, code: 'name_records_invalid' })
  }
  front.deployments.set('swarm', {
    contenthash: '0xe40101fa011b20d1de9994b4d039f6548d191eb26786769f580809256b4685ef316805265ea162',
    providers: 'alice',
  })
  expect(await front.ask('swarm.localhost')).toMatchObject({ status: 502, code: 'name_records_invalid' })
  front.deployments.set('lonely', named('nobody'))
  expect(await front.ask('lonely.localhost')).toMatchObject({ status: 404, code: 'deployment_unserved' })
  // A deployment's name is no provider: nothing leads round in a circle.
  front.deployments.set('circle', named('circle'))
  expect(await front.ask('circle.localhost')).toMatchObject({ status: 404, code: 'deployment_unserved' })
  expect((await front.ask(thumbs)).status).toBe(200)
})

test('a provider that is down gets no calls after three, and nobody notices', async () => {
  await using bob = await openProvider('bob')
  await using front = await openGatewayFront({ alice: 'http://127.0.0.1:1', bob: bob.url })
  front.deployments.set('thumbs', named('alice,bob'))
  for (let i = 0; i < 50; i++) {
    const answer = await front.ask(thumbs, { method: 'POST', body: 'x', headers: { 'content-length': 1 } })
    expect(answer.body.toString()).toBe(`bob /${cid}/`)
  }
  const failures = front.log.lines.filter(({ event }) => event === 'provider_failed')
  expect(failures.length).toBeLessThanOrEqual(limits.routeFailuresToBreak)
})

test('where all are down, the caller is told when to come again', async () => {
  await using front = await openGatewayFront({ alice: 'http://127.0.0.1:1' })
  front.deployments.set('thumbs', named('alice'))
  for (let i = 0; i < 3; i++) expect((await front.ask(thumbs)).code).toBe('provider_unreachable')
  const answer = await front.ask(thumbs)
  expect(answer).toMatchObject({ status: 503, code: 'providers_unavailable' })
  expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
})

test('a provider that refuses before it runs anything is passed over, with the whole body; and not asked first again', async () => {
  await using alice = await openOrigin((_, response) => refuse(response, 'grant_missing'))
  await using bob = await openOrigin(async (request, response) => {
    response.end(await buffer(request))
  })
  await using front = await openGatewayFront({ alice: alice.url, bob: bob.url })
  front.deployments.set('thumbs', named('alice bob'))
  const body = Buffer.alloc(limits.routeReplayBytesMax, 'ab')
  for (let i = 0; i < 20; i++) {
    const answer = await front.ask(thumbs, {
      method: 'POST',
      body,
      headers: { 'content-length': body.length },
    })
    expect(answer.status).toBe(200)
    expect(answer.body.equals(body)).toBe(true)
  }
  expect(alice.requests()).toBe(1)
  front.deployments.set('alone', named('alice'))
  expect(await front.ask('alone.localhost')).toMatchObject({ status: 402, code: 'grant_missing' })
})

test.each([
  ['a program that looks like a refusal', 'provider_busy', { 'khachapuri-call': '0x01' }],
  ['a refusal of the payment', 'pass_invalid', {}],
  ['a bound of the owner', 'owner_cap_reached', {}],
] as const)('%s is the answer, and nobody else is asked', async (_, code, headers) => {
  await using alice = await openOrigin((_request, response) => refuse(response, code, headers))
  await using bob = await openOrigin((_request, response) => refuse(response, code, headers))
  await using front = await openGatewayFront({ alice: alice.url, bob: bob.url })
  front.deployments.set('thumbs', named('alice,bob'))
  expect((await front.ask(thumbs)).code).toBe(code)
  expect(alice.requests() + bob.requests()).toBe(1)
})

test('a call whose provider took it and broke off is never sent to another', async () => {
  const breakOff = (request: IncomingMessage) => request.socket.destroy()
  await using alice = await openOrigin(breakOff)
  await using bob = await openOrigin(breakOff)
  await using front = await openGatewayFront({ alice: alice.url, bob: bob.url })
  front.deployments.set('thumbs', named('alice,bob'))
  const answer = await front.ask(thumbs, { method: 'POST', body: 'pay', headers: { 'content-length': 3 } })
  expect(answer).toMatchObject({ status: 502, code: 'call_in_doubt' })
  expect(alice.requests() + bob.requests()).toBe(1)
  const [first, ...others] = attemptsOf(answer)
  expect([first, others]).toEqual([
    expect.objectContaining({ outcome: 'doubtful', code: 'provider_unreachable' }),
    [],
  ])
  expect(JSON.parse(answer.body.toString())).toMatchObject({ retryable: false, provider: first?.name })
})

test('who was asked, and why the next one had to be, stands in the answer, where that was more than one', async () => {
  await using busy = await openOrigin((_, response) => refuse(response, 'provider_busy'))
  await using bob = await openOrigin((_, response) => {
    response.writeHead(200, { 'khachapuri-call': '0x01', 'khachapuri-attempt': 'me; 0x; answered' })
    response.end('bob')
  })
  await using front = await openGatewayFront(
    { alice: 'http://127.0.0.1:1', bob: bob.url, carol: busy.url },
    { random: () => 0 },
  )
  front.deployments.set('thumbs', named('alice,carol,bob'))
  const answer = await front.ask(thumbs)
  expect(answer.body.toString()).toBe('bob')
  const told = attemptsOf(answer)
  expect(told.at(-1)).toEqual({ name: 'bob', address: accountOf('bob'), outcome: 'answered' })
  expect(new Set(told.slice(0, -1))).toEqual(
    new Set([
      { name: 'alice', address: accountOf('alice'), outcome: 'unreached', code: 'provider_unreachable' },
      { name: 'carol', address: accountOf('carol'), outcome: 'refused', code: 'provider_busy' },
    ]),
  )
  // The only one is told elsewhere; no provider tells this.
  front.deployments.set('alone', named('bob'))
  expect(attemptsOf(await front.ask('alone.localhost'))).toEqual([])
  // Who chose the provider itself hears whether it had the call.
  expect(attemptsOf(await front.ask('bob.localhost'))).toEqual([])
  expect(attemptsOf(await front.ask('alice.localhost'))).toEqual([
    { name: 'alice', address: accountOf('alice'), outcome: 'unreached', code: 'provider_unreachable' },
  ])
  front.records.set('dave', 'ws://elsewhere.example/_/tunnel')
  expect(attemptsOf(await front.ask('dave.localhost'))).toMatchObject([{ outcome: 'unreached' }])
})

test('of a set of vouchers each provider sees its own, and one that takes none of it is passed over', async () => {
  const seen: [string, unknown][] = []
  const takes = (name: string, code?: ErrorCode) =>
    openOrigin((request, response) => {
      seen.push([name, request.headers['khachapuri-voucher']])
      if (code) return refuse(response, code)
      response.writeHead(200, { 'khachapuri-call': '0x01' })
      response.end(name)
    })
  await using alice = await takes('alice', 'voucher_too_low')
  await using bob = await takes('bob')
  await using carol = await takes('carol')
  await using front = await openGatewayFront(
    { alice: alice.url, bob: bob.url, carol: carol.url },
    { random: () => 0 },
  )
  front.deployments.set('thumbs', named('alice,bob,carol'))
  const payer = privateKeyToAccount(generatePrivateKey())
  const [forAlice = '', forBob = '', forDave = ''] = await Promise.all(
    ['alice', 'bob', 'dave'].map((name) => voucherFor(accountOf(name), payer)),
  )
  const ask = (voucher: string | string[], host = thumbs) =>
    front.ask(host, { headers: { 'khachapuri-voucher': voucher } })
  for (const set of [`${forAlice}, ${forBob}`, [forDave, forAlice, forBob]]) {
    const answer = await ask(set)
    expect([answer.status, answer.body.toString()]).toEqual([200, 'bob'])
    expect(attemptsOf(answer).map(({ outcome, code }) => [outcome, code])).toEqual([
      ['refused', 'voucher_too_low'],
      ['answered', undefined],
    ])
  }
  // Also where the caller chose the provider; and one voucher alone is final wherever it is refused.
  expect((await ask(`${forAlice},${forBob}`, 'bob.localhost')).status).toBe(200)
  expect((await ask(forAlice)).code).toBe('voucher_too_low')
  expect(seen.filter(([name]) => name === 'carol')).toEqual([])
  expect(new Set(seen.map((one) => JSON.stringify(one)))).toEqual(
    new Set([JSON.stringify(['alice', forAlice]), JSON.stringify(['bob', forBob])]),
  )
  const before = seen.length
  for (const host of [thumbs, 'carol.localhost'])
    expect((await ask(`${forDave}, ${forDave}`, host)).code).toBe('voucher_not_for_provider')
  expect((await ask(`${forAlice}, kv1.x`)).code).toBe('voucher_invalid')
  expect((await ask(Array.from({ length: limits.voucherSetMax + 1 }, () => forBob))).code).toBe(
    'voucher_invalid',
  )
  expect(seen).toHaveLength(before)
  // It is nobody's failure but the caller's.
  expect(front.log.lines.filter(({ event }) => event === 'provider_failed')).toEqual([])
})

async function voucherFor(provider: Address, payer: PrivateKeyAccount): Promise<string> {
  const market = { chainId: 31_337, escrow: payer.address }
  const voucher = { payer: payer.address, provider, maxAmount: usdc(500n), maxCalls: 1, epoch: 0 }
  const signed = { voucher, signer: payer.address, signature: await signVoucher(voucher, payer, market) }
  return formatVoucherToken({ signed, access: await signVoucherAccess(voucher, payer, market) })
}

const attemptsOf = ({ rawHeaders }: FrontAnswer) =>
  headerValues(rawHeaders, 'khachapuri-attempt').map((line) => parseAttempt(line) as CallAttempt)

test('a body that is too long to keep streams to the one provider that was chosen', async () => {
  await using alice = await openOrigin(async (request, response) => {
    response.end(String((await buffer(request)).length))
  })
  await using front = await openGatewayFront({ alice: alice.url })
  front.deployments.set('thumbs', named('alice'))
  const request = front.send(thumbs, { method: 'POST' })
  const answered = new Promise<IncomingMessage>((resolve) => request.once('response', resolve))
  Readable.from(Array.from({ length: 64 }, () => Buffer.alloc(16 * 1024))).pipe(request)
  expect(String(await buffer(await answered))).toBe(String(1024 * 1024))
})

test('the origin of a deployment is its own: any case, its service workers, and nothing below a name', async () => {
  await using alice = await openProvider('alice')
  await using front = await openGatewayFront({ alice: alice.url })
  const origin = `${String(cid).toUpperCase()}.Alice.localhost`
  expect((await front.ask(origin, { path: '/x' })).body.toString()).toBe(`alice /${cid}/x`)
  const worker = { 'service-worker': 'script' }
  expect((await front.ask(origin, { path: '/sw.js', headers: worker })).status).toBe(200)
  expect((await front.ask('alice.localhost', { path: '/sw.js', headers: worker })).status).toBe(400)
  front.deployments.set('thumbs', named('alice'))
  expect((await front.ask(`${cid}.thumbs.localhost`)).code).toBe('provider_unknown')
  expect((await front.ask(thumbs, { path: '/sw.js', headers: worker })).status).toBe(200)
})

test('a payment leads to the provider that it is for', async () => {
  await using alice = await openProvider('alice')
  await using bob = await openProvider('bob')
  await using front = await openGatewayFront({ alice: alice.url, bob: bob.url })
  front.deployments.set('thumbs', named('alice,bob'))
  const payer = privateKeyToAccount(generatePrivateKey())
  const pass = {
    payer: payer.address,
    providers: [accountOf('bob')],
    deployment: anyDeployment,
    maxPricePerCall: usdc(5n) as Usdc,
    maxSpend: usdc(10n) as Usdc,
    validAfter: 1,
    validBefore: 2,
    id: anyDeployment,
  }
  const token = await signPass(pass, payer, { chainId: 31_337, escrow: payer.address })
  for (let i = 0; i < 10; i++) {
    const answer = await front.ask(thumbs, { headers: { authorization: `Bearer ${token}` } })
    expect(answer.headers['khachapuri-provider']).toBe('bob')
  }
})

test('the gateway tells what it goes by for a name', async () => {
  await using front = await openGatewayFront({ alice: 'http://127.0.0.1:1' })
  front.deployments.set('thumbs', named('alice bob'))
  const host = front.gateway.domain
  const pageOf = async (name: string) => {
    const answer = await front.ask(host, { path: `/_/names/${name}` })
    return { status: answer.status, ...JSON.parse(answer.body.toString()) }
  }
  expect(await pageOf('Thumbs')).toEqual({
    status: 200,
    name: 'thumbs',
    kind: 'deployment',
    cid: cid.toString(),
    providers: ['alice', 'bob'],
    url: `http://thumbs.${host}/`,
    owner: accountOf('thumbs'),
    resolver: accountOf('thumbs'),
    block: 1,
    ageSeconds: null,
  })
  expect(await pageOf('alice')).toMatchObject({ kind: 'provider', address: accountOf('alice') })
  expect(await pageOf('nobody')).toMatchObject({ status: 404, code: 'name_unknown' })
  expect(await pageOf('a.b')).toMatchObject({ status: 400, code: 'name_malformed' })
  front.deployments.set('bad', named('::garbage'))
  expect(await pageOf('bad')).toMatchObject({ status: 502, code: 'name_records_invalid' })
})

test('a domain of somebody’s own is served by its TXT record, and everybody else’s is misdirected', async () => {
  await using alice = await openOrigin((request, response) => {
    response.writeHead(200, [
      'Set-Cookie',
      'wide=1; Domain=oracle.test',
      'Set-Cookie',
      'wider=1; Domain=test',
    ])
    response.end(`alice ${request.url}`)
  })
  const zone = new Map([
    ['_khachapuri.oracle.test', [`khachapuri=${cid} providers=alice`]],
    ['_khachapuri.www.oracle.test', ['khachapuri=thumbs']],
    ['_khachapuri.cloud.test', ['khachapuri=alice']],
    ['_khachapuri.bad.test', ['khachapuri=http://169.254.169.254']],
  ])
  let looks = 0
  const lookupTxt = async (host: string) => {
    looks++
    return zone.get(host) ?? []
  }
  await using front = await openGatewayFront({ alice: alice.url }, { lookupTxt })
  front.deployments.set('thumbs', named('alice'))
  const answer = await front.ask('Oracle.TEST:8080', { path: '/x?y' })
  expect(answer.body.toString()).toBe(`alice /${cid}/x?y`)
  expect(answer.headers['set-cookie']).toEqual(['wide=1; Domain=oracle.test', 'wider=1'])
  expect((await front.ask('www.oracle.test.', { path: '/x' })).body.toString()).toBe(`alice /${cid}/x`)
  expect((await front.ask('cloud.test', { path: `/${cid}/x` })).body.toString()).toBe(`alice /${cid}/x`)
  for (let i = 0; i < 10; i++) {
    expect(await front.ask('other.test')).toMatchObject({ status: 421, code: 'host_unknown' })
  }
  expect(await front.ask('bad.test')).toMatchObject({ status: 502, code: 'name_records_invalid' })
  expect(looks).toBe(5)
  for (const host of [front.gateway.domain, '127.0.0.1', '[::1]:80']) {
    expect((await front.ask(host, { path: '/_/info' })).status).toBe(200)
  }
  const pageOf = async (domain: string) => {
    const page = await front.ask(front.gateway.domain, { path: `/_/domains/${domain}` })
    return { status: page.status, ...JSON.parse(page.body.toString()) }
  }
  expect(await pageOf('oracle.test')).toEqual({
    status: 200,
    domain: 'oracle.test',
    kind: 'deployment',
    cid: cid.toString(),
    providers: ['alice'],
  })
  expect(await pageOf('www.oracle.test')).toMatchObject({ kind: 'name', name: 'thumbs' })
  expect(await pageOf('other.test')).toMatchObject({ status: 404, code: 'domain_unproven' })
  for (const domain of ['localhost', '127.0.0.1', 'a_b.test', 'x@y.test', 'printer.local'])
    expect(await pageOf(domain)).toMatchObject({ status: 400, code: 'name_malformed' })
  // A domain moves as soon as somebody insists, and at the latest when its record is old.
  zone.set('_khachapuri.other.test', [`khachapuri=${cid}  providers=alice`])
  expect(await pageOf('other.test')).toMatchObject({ status: 502 })
  zone.set('_khachapuri.other.test', ['khachapuri=thumbs'])
  expect(await pageOf('other.test')).toMatchObject({ status: 200 })
  expect((await front.ask('other.test')).status).toBe(200)
})

test('a provider that was broken is found in order again by its page, and gets its share back by and by; its price counts', async () => {
  let isDown = false
  let probes = 0
  await using alice = await openOrigin((request, response) => {
    if (isDown) request.socket.destroy()
    else if (request.url === '/_/info') {
      probes++
      response.end(JSON.stringify(infoOf('alice', '7')))
    } else response.end('alice')
  })
  await using bob = await openOrigin((request, response) => {
    response.end(request.url === '/_/info' ? JSON.stringify(infoOf('bob', '5')) : 'bob')
  })
  // The lot always falls on alice, who gets the call unless she is much worse.
  await using front = await openGatewayFront({ alice: alice.url, bob: bob.url }, { random: () => 0 })
  front.deployments.set('thumbs', named('alice,bob'))
  const ask = async (headers = {}) => (await front.ask(thumbs, { headers })).body.toString()
  expect(await ask()).toBe('alice')
  isDown = true
  let failures = 0
  while (failures < 20 && (await ask()) !== 'bob') failures++
  expect(failures).toBe(limits.routeFailuresToBreak)
  for (let i = 0; i < 10; i++) expect(await ask()).toBe('bob')
  const why = (await front.ask(thumbs)).headers['khachapuri-route']
  expect(why).toBe('bob; why=only_one; among=1; of=2; try=1; share=100; record=new')
  isDown = false
  for (let i = 0; i < 100 && probes === 0; i++) {
    await front.clock.advance(limits.routeProbeIntervalMs)
    // Where the page has not been read to its end yet, she is still broken; else she begins with a tenth.
    expect(await ask()).toBe('bob')
  }
  let served = ''
  for (let i = 0; i < 100 && served !== 'alice'; i++) {
    await front.clock.advance(1_000)
    served = await ask()
  }
  expect([served, probes > 0]).toEqual(['alice', true])

  // A pass that pays less than alice asks leads to bob.
  const payer = privateKeyToAccount(generatePrivateKey())
  const pass = {
    payer: payer.address,
    providers: [accountOf('alice'), accountOf('bob')],
    deployment: anyDeployment,
    maxPricePerCall: usdc(6n) as Usdc,
    maxSpend: usdc(10n) as Usdc,
    validAfter: 1,
    validBefore: 2,
    id: anyDeployment,
  }
  const market = { chainId: 31_337, escrow: payer.address }
  const bearer = async (maxPricePerCall: Usdc) => ({
    authorization: `Bearer ${await signPass({ ...pass, maxPricePerCall }, payer, market)}`,
  })
  expect(await ask(await bearer(usdc(6n) as Usdc))).toBe('bob')
})

function infoOf(name: string, price: string) {
  return {
    name,
    address: accountOf(name),
    chainId: 31_337,
    escrow: accountOf('escrow'),
    price,
    noticeHours: 48,
    terms: null,
    kid: 'kid',
    runtimes: ['js'],
    tier: 'sandbox',
    version: '1',
  }
}

test('one whose payers complain gets next to nothing, and the answer says that its record is poor; a newcomer has its share', async () => {
  await using alice = await openProvider('alice')
  await using bob = await openProvider('bob')
  await using carol = await openProvider('carol')
  const [ann, owner] = [accountOf('ann'), accountOf('owner')]
  const paid = 100_000_000n
  const reputations: ReputationReader = {
    newestBlock: async () => 10n,
    read: async ({ provider, ...parties }) => ({
      ...{ provider, owner: parties.owner ?? owner, gifts: [] },
      charges: provider === accountOf('carol') ? [] : [{ payer: ann, signer: ann, paid, calls: 1 }],
      ratings: provider === accountOf('bob') ? [{ payer: ann, score: 0 }] : [],
    }),
  }
  let draw = 0
  // Even lots: what each gets of many calls is what its lots are.
  const random = () => (draw++ * 0.618_033_988_749_895) % 1
  await using front = await openGatewayFront(
    { alice: alice.url, bob: bob.url, carol: carol.url },
    { random, reputations },
  )
  front.deployments.set('thumbs', named('alice,bob,carol'))
  await front.ask(thumbs)
  await front.clock.advance(limits.routeReputationIntervalMs)
  const counts: Record<string, number> = { alice: 0, bob: 0, carol: 0 }
  const records: Record<string, string> = {}
  for (let call = 0; call < 150; call++) {
    const route = String((await front.ask(thumbs)).headers['khachapuri-route'])
    const [, name = '', record = ''] = /^([a-z]+);.*record=([a-z]+)/.exec(route) ?? []
    counts[name] = (counts[name] ?? 0) + 1
    records[name] = record
  }
  expect(counts['bob']).toBeLessThan(15)
  expect(counts['carol']).toBeGreaterThan(30)
  expect(counts['alice']).toBeGreaterThan(counts['carol'] ?? 0)
  expect(records).toMatchObject({ alice: 'good', carol: 'new' })
})
