import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { type ErrorCode, ProtocolError, problemType } from '../../protocol/errors.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { formatContenthash } from '../../protocol/ipfs/contenthash.ts'
import { limits } from '../../protocol/limits.ts'
import { anyDeployment, signPass } from '../../protocol/pass.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import { accountOf, openGatewayFront } from '../../test/support/gateway-front.ts'
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
    expect(answer.headers['khachapuri-route']).toBe('alice; why=only_one; among=1; of=1; try=1')
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
  expect(answer).toMatchObject({ status: 502, code: 'provider_unreachable' })
  expect(alice.requests() + bob.requests()).toBe(1)
})

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
  expect(why).toBe('bob; why=only_one; among=1; of=2; try=1')
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
