import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { connectTunnel } from '../../tunnel-client/index.ts'
import { listListeningPorts, listProcessTree, type TestProcess } from '../support/child-process.ts'
import { freePort } from '../support/free-port.ts'
import { askUntil, callThrough, type OutageMarket, openCall, openOutageMarket } from '../support/outage.ts'

/** KH-15: bob at home. His gateway and his provider are processes, so that they can be looked at and killed. */

let at: OutageMarket
let gateway: TestProcess
let place: { readonly port: number; readonly domain: string; readonly tunnel: string }
let bob: TestProcess
let cid: string

async function startGateway(port: number): Promise<void> {
  gateway = await at.startKhachapuri(
    ['gateway', 'up', '--port', String(port), '--allow-private', '--json'],
    'deployer',
  )
  await gateway.waitFor('\n')
  place = JSON.parse(gateway.stdout())
}

async function startBob(): Promise<void> {
  bob = await at.startKhachapuri(['provider', 'up', '--domain', 'bob', '--json'], 'bob')
  await bob.waitFor('\n')
}

beforeAll(async () => {
  at = await openOutageMarket()
  await at.announce(new URL('http://localhost:1'))
  await startGateway(await freePort())
  await at.announce(new URL(`http://localhost:${place.port}`))
  await startBob()
  cid = await at.deploy('--provider', 'bob', '--timeout', '60000')
})
afterAll(async () => {
  await bob[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const callBob = (path: string, body?: Uint8Array) =>
  callThrough(place, { provider: 'bob', path: `/${cid}${path}`, ...(body && { body }) })

const openCallToBob = (path: string, method?: string) =>
  openCall(place, { provider: 'bob', path: `/${cid}${path}`, ...(method !== undefined && { method }) })

describe('a provider at home', () => {
  test('has opened no port, and neither has anything that it started', async () => {
    expect((await callBob('/answer?body=up')).text).toBe('up')
    expect(await listListeningPorts(gateway.pid)).toContain(place.port)
    const tree = await listProcessTree(bob.pid)
    expect(tree.length).toBeGreaterThan(1)
    for (const pid of tree) expect(await listListeningPorts(pid)).toEqual([])
  })

  test('answers 50 calls at once, each with its own bytes', async () => {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const body = randomBytes(index * 2_048)
        const answer = await callBob('/body', body)
        expect(answer.status).toBe(200)
        expect(digest(answer.body)).toBe(digest(body))
      }),
    )
  })

  test('streams: what is written arrives before the next is asked for, both ways', async () => {
    const { outgoing, answered } = openCallToBob('/body', 'POST')
    outgoing.write('first')
    const response = await answered
    response.setEncoding('utf8')
    const parts = response[Symbol.asyncIterator]()
    for (const word of ['first', 'second', 'third']) {
      expect(await parts.next()).toEqual({ done: false, value: word })
      if (word === 'first') outgoing.write('second')
      if (word === 'second') outgoing.write('third')
    }
    outgoing.end()
    expect((await parts.next()).done).toBe(true)
  })

  test('streams a large answer, byte for byte', async () => {
    const bytes = 20_000_000
    const answer = await callBob(`/bytes/${bytes}`)
    expect(answer.body.byteLength).toBe(bytes)
    expect(digest(answer.body)).toBe(
      digest(Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => i % 251))),
    )
  })
})

describe('the name of a provider at home', () => {
  test('is not registered for anybody else', async () => {
    await using thief = await at.startKhachapuri(['provider', 'up', '--domain', 'bob', '--json'], 'alice')
    expect(await thief.ended).toBe(1)
    expect(JSON.parse(thief.stdout())).toMatchObject({ code: 'name_taken' })
    expect((await callBob('/answer?body=mine')).text).toBe('mine')
  })

  test('is not given to a tunnel of another key, which stops loudly, and his calls go on', async () => {
    const log = createTestLog()
    await using thief = connectTunnel(
      { clock: systemClock, random: () => 0.5, log },
      {
        gatewayUrl: place.tunnel,
        name: 'bob',
        account: privateKeyToAccount(generatePrivateKey()),
        domain: marketDomain({ chainId: at.contracts.chainId, escrow: at.contracts.escrow }),
      },
      () => expect.unreachable('nothing comes to the thief'),
      new AbortController().signal,
    )
    await expect(thief.connected).rejects.toMatchObject({ code: 'tunnel_refused' })
    expect(thief.state).toBe('refused')
    expect(log.lines.filter(({ level }) => level === 'error')).toMatchObject([{ event: 'tunnel_refused' }])
    expect((await callBob('/answer?body=mine')).text).toBe('mine')
  })
})

describe('a gateway that is killed', () => {
  test('breaks its calls off, and has its provider back when it stands again', async () => {
    const { answered } = openCallToBob('/hang')
    gateway.signal('SIGKILL')
    await expect(answered).rejects.toThrow()
    expect(await gateway.ended).toBe('SIGKILL')
    await expect(callBob('/answer?body=gone')).rejects.toMatchObject({ code: 'ECONNREFUSED' })

    await startGateway(place.port)
    const answer = await askUntil(
      () => callBob('/answer?body=back'),
      ({ status }) => status === 200,
    )
    expect(answer.text).toBe('back')
    expect(bob.output()).toContain('tunnel_failed')
  })
})

describe('a provider at home that is killed', () => {
  test('leaves a 502 to calls that it had taken, and is offline then', async () => {
    const { answered } = openCallToBob('/lines/1000000?everyMs=1')
    const begun = await answered
    await once(begun, 'data')
    const { answered: waiting } = openCallToBob('/hang')
    // Sent after the other one on the same way, so both have come when this is answered.
    expect((await callBob('/answer')).status).toBe(200)
    const broken = once(begun, 'error')
    bob.signal('SIGKILL')
    expect(await waiting).toMatchObject({ statusCode: 502 })
    expect(await broken).toMatchObject([{ code: 'ECONNRESET' }])

    expect((await callBob('/answer')).problem()).toMatchObject({ status: 502, code: 'provider_offline' })
    await startBob()
    expect((await callBob('/answer?body=back')).text).toBe('back')
  })
})

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
