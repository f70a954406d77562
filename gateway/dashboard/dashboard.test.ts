import { Script } from 'node:vm'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { type AnnouncedFacts, announcePath, formatAnnouncement } from '../../protocol/announcement.ts'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { formatContenthash } from '../../protocol/ipfs/contenthash.ts'
import { limits } from '../../protocol/limits.ts'
import { createPresenceVoice } from '../../protocol/presence-key.ts'
import { announcedByAlice as facts } from '../../test/support/announced.ts'
import { openGatewayFront } from '../../test/support/gateway-front.ts'
import { openOrigin } from '../../test/support/http-origin.ts'
import { readPageAccess } from '../proxy/page-access.ts'
import { cleanResponseHeaders } from '../proxy/response-headers.ts'
import { createCallBook } from './call-book.ts'
import type { DashboardView } from './dashboard-view.ts'

const cid = cidOfRawDigest(sha256(utf8.encode('spec')))

/** A gateway, and alice, who can announce herself and answers with the status in the path. */
async function setup() {
  const origin = await openOrigin((request, response) => {
    response.writeHead(Number(request.url?.split('/')[2])).end('answer')
  })
  const front = await openGatewayFront({ alice: origin.url })
  const account = privateKeyToAccount(generatePrivateKey())
  front.accounts.set('alice', account.address)
  const voice = createPresenceVoice(front.clock, { account, market: front.gateway.info })
  let sequence = 0
  const { domain } = front.gateway
  const read = async (accept: string, path = '/_/dashboard') => {
    const answer = await front.ask(domain, { path, headers: { accept } })
    return { ...answer, text: answer.body.toString() }
  }
  const view = async () => JSON.parse((await read('application/json')).text) as DashboardView
  return {
    front,
    account,
    /** A call counts once its connection has closed, which its caller may see a moment before. */
    counted: async (calls: number) => {
      while ((await view()).providers[0]?.calls !== calls)
        await new Promise((resolve) => setImmediate(resolve))
    },
    announce: async (changes: Partial<AnnouncedFacts> = {}) => {
      const state = 'up' as const
      const said = { ...facts, ...changes, gateway: domain, state, time: front.clock.nowMs() }
      const body = await formatAnnouncement(voice, { ...said, sequence: ++sequence })
      const headers = { 'content-length': Buffer.byteLength(body) }
      expect((await front.ask(domain, { method: 'POST', path: announcePath, headers, body })).status).toBe(
        200,
      )
    },
    call: async (status: number) => (await front.ask(`alice.${domain}`, { path: `/cid/${status}` })).status,
    read,
    view,
    page: () => read('text/html,application/xhtml+xml'),
    [Symbol.asyncDispose]: async () => {
      await front[Symbol.asyncDispose]()
      await origin[Symbol.asyncDispose]()
    },
  }
}

test('who is there is shown with what it said and how its calls went, to people and to programs', async () => {
  await using at = await setup()
  expect((await at.view()).providers).toEqual([])
  expect((await at.page()).text).toContain('None yet')
  await at.announce()
  for (const status of [200, 404, 200, 500]) expect(await at.call(status)).toBe(status)
  await at.counted(4)
  const { domain } = at.front.gateway
  expect(await at.view()).toEqual({
    gateway: { domain, chainId: 31_337, escrow: expect.any(String), version: '0.0.0' },
    since: new Date(at.front.clock.nowMs()).toISOString(),
    at: new Date(at.front.clock.nowMs()).toISOString(),
    providers: [
      {
        ...{ name: 'alice', address: at.account.address, url: `http://alice.${domain}/` },
        ...{ state: 'live', isTunnelled: false, region: 'eu-central', version: '1.2.0', price: '500' },
        ...{ runtimes: ['js', 'wasm'], calls: 4, answered: 3, failed: 1, successRate: 0.75 },
        ...{ latencyMs: null, record: 'new', reputation: null },
        receipts: `http://alice.${domain}/_/receipts/`,
      },
    ],
  })
  const { text, headers } = await at.page()
  for (const shown of ['>alice</a>', 'eu-central', '1.2.0', '0.0005', '75.0 %', 'class="state live"'])
    expect(text).toContain(shown)
  expect(headers).toMatchObject({ vary: 'accept', 'cache-control': 'no-store' })
})

test('one that is killed is shown as down within 15 s, with what it said last, and comes back', async () => {
  await using at = await setup()
  await at.announce()
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'live' }])
  await at.front.clock.advance(limits.announcementSilenceMsMax)
  expect(limits.announcementSilenceMsMax).toBeLessThanOrEqual(15_000)
  expect((await at.view()).providers).toMatchObject([
    { name: 'alice', state: 'down', region: 'eu-central', version: '1.2.0' },
  ])
  expect((await at.page()).text).toContain('class="state down"')
  await at.announce()
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'live' }])
})

test('what a program says of who may read it does not stand beside what the gateway says', () => {
  const access = readPageAccess(
    { method: 'GET', headers: { origin: 'http://localhost', 'khachapuri-swarm': 'n=3' } },
    'http://localhost',
  )
  const programs = [
    'Access-Control-Allow-Origin',
    '*',
    'access-control-expose-headers',
    'x-own',
    'x-own',
    '1',
  ]
  const facts = {
    ...{ cookieDomain: undefined, requestId: 'r', staleMs: undefined, via: 'v', callerHeaders: [] },
    ...{ onPayer: () => undefined, hsts: undefined },
  }
  const namesOf = (pageHeaders: readonly string[]) =>
    cleanResponseHeaders(programs, { ...facts, pageHeaders })
      .filter((_, index) => index % 2 === 0)
      .map((name) => name.toLowerCase())
      .filter((name) => name.startsWith('access-control-allow-origin') || name.startsWith('x-own'))
  expect(namesOf(access?.rawHeaders ?? [])).toEqual(['x-own', 'access-control-allow-origin'])
  expect(namesOf([])).toEqual(['access-control-allow-origin', 'x-own'])
})

test('one whose calls fail is down at once, whatever it says', async () => {
  await using at = await setup()
  await at.announce()
  at.front.deployments.set('thumbs', { contenthash: formatContenthash(cid), providers: 'alice' })
  at.front.records.set('alice', 'http://127.0.0.1:1')
  at.front.change('alice')
  const { domain } = at.front.gateway
  for (let call = 0; call < limits.routeFailuresToBreak; call += 1)
    expect((await at.front.ask(`thumbs.${domain}`)).status).toBeGreaterThanOrEqual(502)
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'down' }])
})

test('one whose tunnel stood and does not is down, though it never said anything', async () => {
  await using at = await setup()
  expect(await at.call(200)).toBe(200)
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'silent' }])
  at.front.tunnels.set(at.account.address, { send: () => ({ pause() {}, resume() {}, abort() {} }) })
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'live', isTunnelled: true }])
  at.front.tunnels.delete(at.account.address)
  for (let look = 0; look < 2; look += 1)
    expect((await at.view()).providers).toMatchObject([{ name: 'alice', state: 'down', isTunnelled: false }])
})

test('callers who name what is not there, or leave, count for nobody', async () => {
  await using at = await setup()
  const { domain } = at.front.gateway
  expect((await at.front.ask(`nobody.${domain}`, { path: '/cid/200' })).code).toBe('provider_unknown')
  expect(await at.call(200)).toBe(200)
  await at.counted(1)
  expect((await at.view()).providers).toMatchObject([{ name: 'alice', calls: 1, state: 'silent' }])

  const book = createCallBook({ isTold: true })
  const call = { target: 'provider', provider: 'alice', status: 200, code: undefined, isWhole: true } as const
  book.note(call, () => false)
  book.note({ ...call, target: 'gateway' }, () => true)
  expect([book.of('alice').calls, book.take()]).toEqual([0, []])
  for (const changes of [{}, { isWhole: false }, { status: 502, code: 'call_timeout' }])
    book.note({ ...call, ...changes }, () => true)
  const counts = { name: 'alice', calls: 3, answered: 1, failed: 1 }
  expect([book.of('alice'), book.take(), book.take()]).toEqual([counts, [counts], []])
})

test('what a provider says of itself is text, whatever it is', async () => {
  await using at = await setup()
  const hostile = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '</title><svg onload=alert(1)>',
    '&lt;b&gt;&#x3c;i onload=a()>',
  ]
  const plain = (await at.page()).text
  for (const version of hostile) {
    await at.announce({ version: version.slice(0, 32) })
    const { text } = await at.page()
    expect((await at.view()).providers[0]?.version).toBe(version.slice(0, 32))
    // No tag or attribute is there that is not of the page, and the text is.
    expect(tagsOf(text)).toEqual(tagsOf(plain.replace('<tbody>', `<tbody>${rowOf(text)}`)))
    for (const tag of tagsOf(rowOf(text)))
      expect(tag).toMatch(
        /^<\/?(?:tr|th|td|a|code|span)(?: (?:data-state|scope|href|title|class|data-receipts)="[^"<>]*")*>$/,
      )
  }
})

const rowOf = (page: string): string => /<tr data-state[\s\S]*?<\/tr>/.exec(page)?.[0] ?? ''
/** Without what stands in the row's place otherwise, and the forms' list of names. */
const tagsOf = (page: string): string[] =>
  page.match(/<\/?[a-zA-Z!][^>]*>/g)?.filter((tag) => !/^<\/?(?:option|p|strong|time|!)/.test(tag)) ?? []

test('the page loads nothing from anywhere else, and may not', async () => {
  await using at = await setup()
  await at.announce()
  const { text, headers } = await at.page()
  const { domain } = at.front.gateway
  expect(headers['content-security-policy']).toBe(
    `default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' http://any.${domain}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  )
  // Neither inline code nor style, which the policy would refuse; what is loaded is here.
  expect(text).not.toMatch(/<script(?![^>]*\bsrc=)|<style| on[a-z]+=| style=|javascript:/i)
  const loaded = [...text.matchAll(/<(?:script|link|img|iframe|object|embed)[^>]*?(?:src|href)="([^"]*)"/g)]
  expect(loaded.map(([, path]) => path)).toEqual(['/_/dashboard/style.css', '/_/dashboard/script.js'])
  const script = await at.read('*/*', '/_/dashboard/script.js')
  const style = await at.read('*/*', '/_/dashboard/style.css')
  expect([script.headers['content-type'], style.headers['content-type']]).toEqual([
    'text/javascript; charset=utf-8',
    'text/css; charset=utf-8',
  ])
  expect(style.text).not.toMatch(/@import|url\(/)
  expect(script.text).not.toMatch(
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|new Function|https?:\/\//,
  )
  expect(() => new Script(script.text)).not.toThrow()
  // Everything that the script looks for is in the page, and everything that one fills in has a label.
  for (const [, id] of script.text.matchAll(/byId\('([a-z]+)'\)/g)) expect(text).toContain(`id="${id}"`)
  for (const [, field] of script.text.matchAll(/elements\.([a-z]+)/g))
    expect(text).toContain(`name="${field}"`)
  expect(text.match(/<(?:input|select|textarea)/g)?.length).toBe(text.match(/<label/g)?.length)
  expect(text).toContain('<html lang="en">')
})

test('the gateway’s own page may read the answers of swarms, and no other page', async () => {
  await using at = await setup()
  const { domain, url } = at.front.gateway
  const ask = (method: string, headers: Record<string, string>) =>
    at.front.ask(`any.${domain}`, { method, path: '/cid/', headers })
  const preflight = {
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'khachapuri-swarm',
  }
  const asked = await ask('OPTIONS', { origin: url.origin, ...preflight })
  expect([asked.status, asked.headers['access-control-allow-origin']]).toEqual([204, url.origin])
  // Whatever the answer is, the page can tell it.
  const swarm = { 'khachapuri-swarm': 'n=0' }
  const refused = await ask('GET', { origin: url.origin, ...swarm })
  expect(refused.headers['access-control-allow-origin']).toBe(url.origin)
  for (const origin of ['http://evil.test', 'null', `http://alice.${domain}`]) {
    const other = await ask('OPTIONS', { origin, ...preflight })
    expect(other.headers).not.toHaveProperty('access-control-allow-origin')
    expect((await ask('GET', { origin, ...swarm })).headers).not.toHaveProperty('access-control-allow-origin')
  }
  // Other calls of the page are anybody's calls, and their preflights the program's.
  const others = { ...preflight, 'access-control-request-headers': 'x-other' }
  expect((await ask('OPTIONS', { origin: url.origin, ...others })).code).toBe('cid_malformed')
  const plain = await ask('GET', { origin: url.origin })
  expect(plain.headers).not.toHaveProperty('access-control-allow-origin')
})
