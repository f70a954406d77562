import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Gateway } from '../../gateway/gateway.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createKeeper } from '../../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../../protocol/ipfs/open-blockstore.ts'
import type { Provider } from '../../provider/provider.ts'
import { curl } from '../support/curl.ts'
import { createHttpServer } from '../support/keeper-server.ts'
import { callThrough, echoProgram, type OutageMarket, openOutageMarket } from '../support/outage.ts'

/** The keeper goes away, and with it the gateway that it is part of; and programs that take what they can get. */

let at: OutageMarket
let gateway: Gateway
let alice: Provider
let cid: string
let looping: string

beforeAll(async () => {
  at = await openOutageMarket()
  gateway = await at.startGateway()
  alice = await at.startProvider('alice', gateway)
  cid = await at.deploy('--provider', 'alice')
  looping = await at.deploy('--provider', 'alice', '--timeout', '400', '--params', '{"looping":true}')
})
afterAll(async () => {
  await alice[Symbol.asyncDispose]()
  await gateway[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

const callAlice = (deployment: string, path: string) =>
  callThrough(gateway, { provider: 'alice', path: `/${deployment}${path}` })

describe('a program that loops', () => {
  test('is stopped within its limit, while the calls of another one go on as before', async () => {
    expect((await callAlice(cid, '/answer')).status).toBe(200)
    let isLooping = true
    const loops = Promise.all(Array.from({ length: 3 }, () => callAlice(looping, '/loop'))).finally(() => {
      isLooping = false
    })
    let answered = 0
    while (isLooping) {
      expect((await callAlice(cid, '/answer?body=fine')).text).toBe('fine')
      answered += 1
    }
    const stopped = await loops
    expect(stopped.map((answer) => answer.problem().code)).toEqual(Array(3).fill('program_timeout'))
    // 400 ms of looping leave a neighbour time for many calls, on the slowest machine.
    expect(answered).toBeGreaterThan(3)
    // The program itself is not to blame for ever.
    expect((await callAlice(looping, '/answer?body=again')).text).toBe('again')
  })
})

describe('a keeper that is away', () => {
  const deploy = (...flags: string[]) =>
    at.user.run(['deploy', echoProgram, '--provider', 'alice', '--no-env', '--json', ...flags])

  test('stops a deployment before anything is published', async () => {
    const before = at.rpc.others.calls.length
    const { exitCode, json } = await deploy('--keeper', 'http://127.0.0.1:1')
    expect(exitCode).toBe(1)
    expect(json()).toMatchObject({ code: 'keeper_unreachable', retryable: true })
    const sent = at.rpc.others.calls.slice(before).filter(({ method }) => method === 'eth_sendRawTransaction')
    expect(sent).toEqual([])
  })

  test('in the middle of a deployment leaves a program that nobody can call', async () => {
    await using keeper = await openFailingKeeper()
    const { exitCode, json } = await deploy('--params', '{"half":true}', '--keeper', keeper.url.href)
    expect(keeper.uploads()).toBe(2)
    expect(exitCode).toBe(1)
    expect(json()).toMatchObject({ code: 'keeper_unreachable' })
    expect(json()).not.toHaveProperty('cid')
    // The zip, which is public and cannot be called by itself; no spec.
    const ids = await deploy('--dry-run')
    expect(keeper.pins().map(({ root }) => root.toString())).toEqual([ids.json()['program']])
  })

  test('does not stop calls to programs that are fetched already, not even over a restart', async () => {
    await gateway[Symbol.asyncDispose]()
    const direct = (path: string) => {
      const url = alice.url
      if (!url) throw new Error('alice has an address')
      return curl({ port: Number(url.port), host: url.host, path: `/${cid}${path}` })
    }
    expect((await direct('/answer?body=here')).text).toBe('here')
    const { exitCode, json } = await deploy()
    expect(exitCode).toBe(1)
    expect(json()).toMatchObject({ code: expect.stringMatching(/market_not_running|keeper_unreachable/) })

    await alice[Symbol.asyncDispose]()
    alice = await at.startProvider('alice', gateway)
    expect((await direct('/answer?body=still')).text).toBe('still')

    gateway = await at.startGateway()
    expect((await callAlice(cid, '/answer?body=back')).text).toBe('back')
  })
})

/** A keeper that takes one upload and dies in the second. */
async function openFailingKeeper() {
  const dir = join(at.user.dir, '.failing-keeper')
  let uploads = 0
  let listener: RequestListener = () => undefined
  const server = await createHttpServer((request, response) => {
    if (request.method === 'POST' || request.method === 'PUT') uploads += 1
    if (uploads > 1) request.socket.destroy()
    else listener(request, response)
  })
  const { chainId, escrow } = at.contracts
  const keeper = await createKeeper(
    { blockstore: await openBlockstore(join(dir, 'blocks')), clock: systemClock, log: createTestLog() },
    { dir: join(dir, 'keeper'), audience: () => server.url.origin, market: { chainId, escrow } },
  )
  listener = getRequestListener(keeper.routes().fetch)
  return {
    url: server.url,
    uploads: () => uploads,
    pins: () => keeper.pins,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await keeper[Symbol.asyncDispose]()
    },
  }
}
