import { request as httpRequest } from 'node:http'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { joinCluster } from '../../gateway/cluster/cluster.ts'
import { openNatsStore } from '../../gateway/cluster/nats-store.ts'
import { type AnnouncedFacts, announcePath } from '../../protocol/announcement.ts'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { createPresenceVoice } from '../../protocol/presence-key.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createAnnouncer } from '../../provider/announcer.ts'
import { connectTunnels, loopbackLookup, type Tunnel } from '../../tunnel-client/index.ts'
import { type FleetNode, startFleet } from '../support/fleet.ts'
import { natsServer, startNats } from '../support/nats.ts'
import { domain, newAccount, until } from '../support/tunnels.ts'

/** Three gateways that share a NATS server, and a provider that has its tunnels at two of them; no test goes without. */
const stack = new AsyncDisposableStack()
const seen: (readonly string[])[] = []
let nodes: readonly FleetNode[] = []
let tunnel: Tunnel
let bob: ReturnType<typeof newAccount>
const market = { chainId: 31_337, escrow: '0x00000000000000000000000000000000000e5c70' } as const
let nats: Awaited<ReturnType<typeof startNats>> | undefined

beforeAll(async () => {
  if (!natsServer) return
  const account = newAccount()
  bob = newAccount()
  nats = await startNats()
  stack.defer(async () => nats?.[Symbol.asyncDispose]())
  const providers = { alice: account.address, bob: bob.address }
  const fleet = stack.use(await startFleet(3, { ...market, providers, cluster: nats.url, homes: 2 }))
  nodes = fleet.nodes
  tunnel = stack.use(
    connectTunnels(
      { clock: systemClock, random: Math.random, log: createTestLog(), proxyEnv: {} },
      { gatewayUrl: (nodes[0] as FleetNode).tunnel, name: 'alice', account, domain },
      (request, response) => {
        seen.push(request.rawHeaders)
        response.writeHead(200, ['content-type', 'text/plain'])
        request.pipe(response)
      },
      new AbortController().signal,
    ),
  )
  await tunnel.connected
  await until(() => tunnel.status().sockets.length === 4)
  // The others hear of it within a moment.
  for (const node of nodes) while (!(await isServed(node))) await new Promise(setImmediate)
})
afterAll(() => stack.disposeAsync())

const isServed = async (node: FleetNode) => (await node.call('alice')).status === 200

const valuesOf = (rawHeaders: readonly string[], name: string): string[] =>
  rawHeaders.flatMap((one, index) =>
    index % 2 === 0 && one.toLowerCase() === name ? [rawHeaders[index + 1] as string] : [],
  )

test.skipIf(!natsServer)(
  'a provider at two gateways of three is reached through all, with one hop at most',
  async () => {
    const hops: number[] = []
    for (const node of nodes) {
      seen.length = 0
      const answer = await node.call('alice', { method: 'POST', path: '/x?y', body: 'hello' })
      expect(answer).toMatchObject({ status: 200, body: 'hello' })
      const [rawHeaders = []] = seen
      expect(valuesOf(rawHeaders, 'x-forwarded-for')).toEqual(['127.0.0.1'])
      expect(valuesOf(rawHeaders, 'x-forwarded-host')).toEqual([`alice.localhost:${node.port}`])
      expect(valuesOf(rawHeaders, 'host')).toEqual([`alice.localhost:${node.port}`])
      expect(valuesOf(rawHeaders, 'khachapuri-cluster-hop')).toEqual([])
      expect(valuesOf(rawHeaders, 'x-request-id').length).toBe(1)
      hops.push((valuesOf(rawHeaders, 'via')[0] ?? '').split(',').length)
    }
    expect(hops.sort()).toEqual([1, 1, 2])
  },
)

test.skipIf(!natsServer)(
  'callers cannot pass for a gateway: where gateways meet, nobody else is served',
  async () => {
    const [first] = nodes as [FleetNode]
    seen.length = 0
    const forged = `1.0x${'a'.repeat(40)}.${Date.now() + 1_000}.${'A'.repeat(43)}`
    for (const token of ['', '1.0x00.1.x', forged]) {
      const headers = {
        host: 'alice.localhost',
        'khachapuri-cluster-hop': token,
        'x-forwarded-for': '6.6.6.6',
      }
      const status = await new Promise((resolve, reject) => {
        const { hopPort: port } = first
        const request = httpRequest({ host: '127.0.0.1', port, headers, agent: false }, (response) => {
          response.resume()
          resolve(response.statusCode)
        })
        request.on('error', reject).end()
      })
      expect(status).toBe(403)
      // At the public door it is one more header that means nothing.
      for (const node of nodes) expect((await node.call('alice', { headers })).status).toBe(200)
    }
    expect(seen.length).toBe(9)
    for (const rawHeaders of seen) expect(rawHeaders).not.toContain('6.6.6.6')
  },
)

test.skipIf(!natsServer)('what one gateway denies, all deny, until it changes its mind', async () => {
  const [first, second] = nodes as [FleetNode, FleetNode]
  await second.setRules({ deny: { providers: ['alice'] } })
  for (const node of nodes) while ((await node.call('alice')).status !== 451) await new Promise(setImmediate)
  await first.setRules({})
  expect((await first.call('alice')).status).toBe(451)
  await second.setRules({})
  for (const node of nodes) while (!(await isServed(node))) await new Promise(setImmediate)
})

test.skipIf(!natsServer)(
  'what somebody takes away of a gateway that lives, its routes above all, is there again at once',
  async () => {
    const connection = await connect({ servers: nats?.url as string })
    const kv = await new Kvm(connection).open('khachapuri_gateways')
    const routes = async () => {
      const keys: string[] = []
      for await (const key of await kv.keys(['route.>'])) keys.push(key)
      return keys.sort()
    }
    const before = await routes()
    expect(before.length).toBe(2)
    for (const key of before) await kv.delete(key)
    await expect.poll(routes).toEqual(before)
    for (const key of before) await kv.delete(`node.${key.split('.')[2]}`)
    for (const node of nodes) while (!(await isServed(node))) await new Promise(setImmediate)

    const [first] = nodes as [FleetNode]
    await first.setRules({ deny: { providers: ['bob'] } })
    const denying = async () => {
      const found: string[] = []
      for await (const key of await kv.keys(['deny.>'])) {
        if ((await kv.get(key))?.string().includes('bob')) found.push(key)
      }
      return found
    }
    await expect.poll(denying).toHaveLength(1)
    const [key = ''] = await denying()
    await kv.put(key, '{"cids":[],"providers":[],"clients":[]}')
    await expect.poll(denying).toEqual([key])
    await kv.delete(key)
    await expect.poll(denying).toEqual([key])
    await first.setRules({})
    await connection.close()
  },
)

test.skipIf(!natsServer)(
  'one of the members takes away the marks of what was deleted, and words that are over, and nothing else',
  async () => {
    await using own = await startNats()
    // Long after all that is said here, and never asleep for long.
    const clock: Clock = {
      ...systemClock,
      nowMs: () => systemClock.nowMs() + 2 * limits.clusterMarkAgeMs,
      sleep: (durationMs, signal) => systemClock.sleep(Math.min(durationMs, 20), signal),
    }
    const log = createTestLog()
    const open = () => openNatsStore({ clock, log }, { servers: [own.url] })
    await using store = await open()
    const connection = await connect({ servers: own.url })
    const kv = await new Kvm(connection).open('khachapuri_gateways')
    const read = async () => {
      const entries: string[] = []
      for await (const { key, operation, delta } of await kv.watch()) {
        entries.push(`${operation} ${key}`)
        if (delta === 0) break
      }
      return entries.sort()
    }
    await store.put('alive.0xa1', 'said long ago')
    for (const key of ['deny.gone', 'deny.back']) {
      await store.put(key, '{}')
      await store.delete(key)
    }
    await store.put('deny.back', '{"cids":[]}')
    await store.purge(3 * limits.clusterMarkAgeMs, (key) => key.startsWith('alive.'))
    expect(await read()).toEqual(['DEL deny.gone', 'PUT alive.0xa1', 'PUT deny.back', 'PUT secret'])

    const tunnels = { upstreamFor: () => undefined, connected: () => [] }
    const place = {
      hopHost: '127.0.0.1',
      hopPort: 0,
      tunnel: 'ws://localhost:1/_/tunnel',
      homes: 2,
      via: 'gw',
    }
    await using _member = await joinCluster({ clock, log, store: await open(), tunnels }, place)
    await expect.poll(read).toEqual(['PUT deny.back', expect.stringMatching(/^PUT node\./), 'PUT secret'])
    await connection.close()
  },
)

test.skipIf(!natsServer)('who announces itself to one gateway is known to all, until it goes', async () => {
  const [first] = nodes as [FleetNode]
  const voice = createPresenceVoice({ nowMs: systemClock.nowMs }, { account: bob, market })
  const facts = {
    name: parseName('bob'),
    endpoint: 'http://127.0.0.1:1',
    ...({ region: null, version: '1', price: usdc(1n), egress: 'none', tier: 'process' } as const),
    runtimes: ['js' as const],
    capacity: { memoryMiB: null, calls: 1, callsInFlight: 0 },
  } satisfies AnnouncedFacts
  const listed = async (node: FleetNode) => {
    const { providers } = JSON.parse((await node.call('', { path: announcePath })).body)
    return providers.some(({ name, isLive }: { name: string; isLive: boolean }) => name === 'bob' && isLive)
  }
  for (const node of nodes) expect(await listed(node)).toBe(false)
  const announcer = createAnnouncer(
    {
      ...{ clock: systemClock, log: createTestLog(), voice, lookup: loopbackLookup, proxyEnv: {} },
      facts: () => facts,
    },
    [new URL(`http://localhost:${first.port}`)],
  )
  for (const node of nodes) while (!(await listed(node))) await new Promise(setImmediate)
  await announcer[Symbol.asyncDispose]()
  for (const node of nodes) while (await listed(node)) await new Promise(setImmediate)
})

test.skipIf(!natsServer)('what one gateway lets through counts at all', async () => {
  const [first, second, third] = nodes as [FleetNode, FleetNode, FleetNode]
  const windowSeconds = 30 * 86_400
  const client = { requests: 50_000, windowSeconds }
  const limits = { exempt: [], client, deployment: { requests: 30, windowSeconds } }
  for (const node of nodes) await node.setRules({ limits })
  const path = '/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku/'
  for (let n = 0; n < 20; n++) expect((await first.call('alice', { path })).status).toBe(200)
  for (let n = 0; n < 10; n++) expect((await second.call('alice', { path })).status).toBe(200)

  // What is left for this client at the third is what it took neither here nor at the others.
  let calls = 0
  const left = async () => {
    calls++
    const { headers } = await third.call('alice')
    return Number(/"client";r=(\d+)/.exec(String(headers['ratelimit']))?.[1])
  }
  while ((await left()) > client.requests - 30 - calls) await new Promise(setImmediate)
  // The provider asks the gateways for each other now and then, which counts, too.
  let taken = 0
  let refused = await third.call('alice', { path })
  for (; refused.status === 200; taken++) refused = await third.call('alice', { path })
  expect(taken).toBeLessThan(5)
  expect([refused.status, JSON.parse(refused.body).limit]).toEqual([429, 'deployment'])
  for (const node of nodes) await node.setRules({})
})

test.skipIf(!natsServer)(
  'a gateway that is killed under load takes nothing from callers of the others but what it had',
  async () => {
    const [first, ...others] = nodes as [FleetNode, ...FleetNode[]]
    const stop = new AbortController()
    const failures: number[] = []
    let ok = 0
    const load = others.flatMap((node) =>
      Array.from({ length: 4 }, async () => {
        while (!stop.signal.aborted) {
          const { status } = await node.call('alice')
          if (status === 200) ok++
          else failures.push(status)
        }
      }),
    )
    await until(() => ok > 20)
    await first.kill()
    const before = ok
    // Another gateway takes the place of the one that died.
    await until(() => tunnel.status().sockets.length === 4 && ok > before + 20)
    stop.abort()
    await Promise.all(load)
    // Those that were on their way through the dead gateway: each caller has one at a time.
    expect(failures.length).toBeLessThanOrEqual(8)
    for (const node of others) expect(await isServed(node)).toBe(true)
  },
)

test.skipIf(!natsServer)('without NATS each of them goes on serving, and counts for itself', async () => {
  const [, second, third] = nodes as [FleetNode, FleetNode, FleetNode]
  const isAlone = async (node: FleetNode) =>
    (await node.metrics()).includes('\nkhachapuri_gateway_in_cluster 0\n')
  expect([await isAlone(second), await isAlone(third)]).toEqual([false, false])
  await nats?.[Symbol.asyncDispose]()
  nats = undefined
  for (const node of [second, third]) while (!(await isAlone(node))) await new Promise(setImmediate)
  const quota = { requests: 5, windowSeconds: 30 * 86_400 }
  for (const node of [second, third]) {
    await node.setRules({ limits: { exempt: [], provider: quota } })
    const statuses: number[] = []
    for (let n = 0; n < 6; n++) statuses.push((await node.call('alice')).status)
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429])
  }
})
