import { getAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { announcePath, formatAnnouncement } from '../../protocol/announcement.ts'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { createPresenceVoice } from '../../protocol/presence-key.ts'
import { announcedByAlice as facts } from '../../test/support/announced.ts'
import { type GatewayFront, openGatewayFront } from '../../test/support/gateway-front.ts'
import { openOrigin } from '../../test/support/http-origin.ts'

/** A gateway, and a provider with a key whose name is alice's. */
async function setup(options: Parameters<typeof openGatewayFront>[1] = {}) {
  const front = await openGatewayFront({ alice: 'http://127.0.0.1:1' }, options)
  const account = privateKeyToAccount(generatePrivateKey())
  front.accounts.set('alice', account.address)
  const market = front.gateway.info
  const voiceOf = (who = account) => createPresenceVoice(front.clock, { account: who, market })
  const voice = voiceOf()
  let sequence = 0
  return {
    front,
    account,
    voiceOf,
    say: (changes: Partial<Parameters<typeof formatAnnouncement>[1]> = {}, by = voice) =>
      formatAnnouncement(by, {
        ...facts,
        gateway: front.gateway.domain,
        state: 'up',
        time: front.clock.nowMs(),
        sequence: ++sequence,
        ...changes,
      }),
    send: async (text: string) => {
      const headers = { 'content-length': Buffer.byteLength(text) }
      const answer = await front.ask(front.gateway.domain, {
        method: 'POST',
        path: announcePath,
        headers,
        body: text,
      })
      return [answer.status, answer.code]
    },
    list: () => listOf(front),
    [Symbol.asyncDispose]: () => front[Symbol.asyncDispose](),
  }
}

async function listOf(front: GatewayFront) {
  const { body } = await front.ask(front.gateway.domain, { path: announcePath })
  return JSON.parse(body.toString()).providers as { name: string; isLive: boolean }[]
}

test('a provider that nobody called is listed with what it said, until it goes or falls silent', async () => {
  await using at = await setup()
  const { domain } = at.front.gateway
  expect(await at.list()).toEqual([])
  expect(await at.send(await at.say())).toEqual([200, undefined])
  expect(await at.list()).toEqual([
    {
      name: 'alice',
      address: at.account.address,
      url: `http://alice.${domain}/`,
      isLive: true,
      isTunnelled: false,
      region: 'eu-central',
      version: '1.2.0',
      price: '500',
      runtimes: ['js', 'wasm'],
      tier: 'sandbox',
      egress: 'none',
      capacity: { memoryMiB: 512, calls: 64, callsInFlight: 3 },
      endpoints: [`http://alice.${domain}/`, 'http://127.0.0.1:1'],
      saidAt: new Date(at.front.clock.nowMs()).toISOString(),
    },
  ])
  const page = await at.front.ask(domain, { headers: { accept: 'text/html' } })
  expect(page.body.toString()).toContain('live, eu-central, 0.0005 USDC a call, version 1.2.0')
  expect(await at.send(await at.say({ state: 'down' }))).toEqual([200, undefined])
  expect(await at.list()).toEqual([])

  expect(await at.send(await at.say())).toEqual([200, undefined])
  await at.front.clock.advance(limits.announcementSilenceMsMax - 1)
  expect((await at.list()).length).toBe(1)
  await at.front.clock.advance(1)
  expect(await at.list()).toEqual([])
  // One reading of its name was enough for all of this.
  expect(at.front.reads()).toBe(1)
})

test('what was said before counts once: replayed, older, for another gateway or of another time it changes nothing', async () => {
  await using at = await setup()
  const first = await at.say()
  const down = await at.say({ state: 'down' })
  const last = await at.say()
  expect(await at.send(last)).toEqual([200, undefined])
  const listed = await at.list()
  for (const old of [last, first, down]) expect(await at.send(old)).toEqual([401, 'announcement_replayed'])
  for (const aheadMs of [-1, 1]) {
    const time = at.front.clock.nowMs() + aheadMs * (limits.announcementSkewMsMax + 1)
    expect(await at.send(await at.say({ time }))).toEqual([401, 'announcement_replayed'])
  }
  const elsewhere = await at.say({ gateway: 'gateway.example', state: 'down' })
  expect(await at.send(elsewhere)).toEqual([401, 'announcement_invalid'])
  expect(await at.list()).toEqual(listed)

  // Also once it has gone: its last word stays known for as long as the words before it could be taken.
  expect(await at.send(await at.say({ state: 'down' }))).toEqual([200, undefined])
  await at.front.clock.advance(limits.announcementSkewMsMax)
  expect(await at.send(last)).toEqual([401, 'announcement_replayed'])
  expect(await at.list()).toEqual([])
})

test('only the account behind the name announces it or takes it back, and every byte is signed', async () => {
  await using at = await setup()
  expect(await at.send(await at.say())).toEqual([200, undefined])
  const listed = await at.list()
  const mallory = at.voiceOf(privateKeyToAccount(generatePrivateKey()))
  for (const state of ['up', 'down'] as const)
    expect(await at.send(await at.say({ state }, mallory))).toEqual([401, 'announcement_invalid'])
  const said = JSON.parse(await at.say({ state: 'down' }))
  const theirs = JSON.parse(await at.say({ state: 'down' }, mallory))
  const forged = [
    { ...theirs, provider: said.provider },
    { ...said, key: theirs.key },
    { ...said, key: { ...said.key, validBefore: said.key.validBefore + 1 } },
    { ...said, signature: theirs.signature },
    { ...said, price: '1' },
    { ...said, state: 'up' },
    { ...said, note: 'a field that nobody knows' },
    { ...said, key: { ...said.key, publicKey: `0x${'00'.repeat(32)}` } },
    { ...said, kind: 'ping' },
  ]
  for (const one of forged) expect(await at.send(JSON.stringify(one))).toEqual([401, 'announcement_invalid'])
  for (const text of ['', 'x', '[]', '{}']) expect(await at.send(text)).toEqual([401, 'announcement_invalid'])
  expect(await at.send('x'.repeat(limits.announcementBytesMax + 1))).toEqual([413, 'body_too_large'])
  expect(await at.list()).toEqual(listed)
})

test('one that announces itself too often waits, and who registered a moment ago is read again', async () => {
  await using at = await setup()
  at.front.accounts.delete('alice')
  await at.front.ask('alice.localhost')
  expect(await at.send(await at.say())).toEqual([401, 'announcement_invalid'])
  at.front.accounts.set('alice', at.account.address)
  expect(await at.send(await at.say())).toEqual([401, 'announcement_invalid'])
  await at.front.clock.advance(limits.announcedNameRereadMs)
  const answers = []
  for (let n = 0; n <= limits.announcementsPerProviderPerMinuteMax; n++)
    answers.push((await at.send(await at.say()))[1])
  expect(answers.filter((code) => code !== undefined)).toEqual(['too_many_requests'])
})

test('"any" finds a provider that was never called, and passes over one that went', async () => {
  const answer = (name: string) =>
    openOrigin((_, response) => void response.writeHead(200, { 'khachapuri-call': '0x01' }).end(name))
  await using alice = await answer('alice')
  await using bob = await answer('bob')
  await using at = await setup({ fetchSpec: async () => spec })
  at.front.records.set('alice', alice.url)
  at.front.records.set('bob', bob.url)
  const served = async () => (await at.front.ask(any, { path: `/${cid}/` })).body.toString()
  const any = `any.${at.front.gateway.domain}`
  expect(await at.front.ask(any, { path: `/${cid}/` })).toMatchObject({ code: 'deployment_unserved' })
  expect(await at.send(await at.say())).toEqual([200, undefined])
  expect(await served()).toBe('alice')

  // Bob was called once and never says anything; of alice it is known that she has gone.
  await at.front.ask(`bob.${at.front.gateway.domain}`)
  const both = new Set<string>()
  while (both.size < 2) both.add(await served())
  expect(await at.send(await at.say({ state: 'down' }))).toEqual([200, undefined])
  for (let n = 0; n < 20; n++) expect(await served()).toBe('bob')
  expect(await at.send(await at.say())).toEqual([200, undefined])
  for (both.clear(); both.size < 2; ) both.add(await served())
})

const owner = privateKeyToAccount(generatePrivateKey())
const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
/** A deployment that anybody may run. */
const spec = formatDeployment(
  await signDeployment(
    {
      version: 1,
      chainId: 31_337,
      escrow: getAddress(owner.address),
      program: cid.toString(),
      runtime: 'js',
      entry: 'index.js',
      params: {},
      env: {},
      limits: { timeoutMs: 1_000, memoryMiB: 64, egress: 'none' },
      providers: [],
      payer: 'any',
      policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
      terms: null,
      owner: owner.address,
      createdAt: 1_700_000_000,
    },
    owner,
  ),
)
