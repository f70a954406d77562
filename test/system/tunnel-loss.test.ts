import { Agent, request as httpRequest } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createTestLog } from '../../protocol/base/log.ts'
import type { OutgoingResponse, RequestListener } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { freePort } from '../support/free-port.ts'
import {
  createPresentClock,
  createTunnelGateway,
  newAccount,
  openTunnel,
  readCode,
  setupFarTunnel,
  setupTunnel,
  until,
} from '../support/tunnels.ts'

const asOwner = (account: { address: `0x${string}` }) => async (name: string) => ({
  address: account.address,
  name,
})

describe('a lost socket', () => {
  test('in the middle of a request is a 502 at once, and never runs it again', async () => {
    let runs = 0
    await using setup = await setupTunnel(() => void runs++, { sockets: 1 })
    const waiting = fetch(setup.gateway.url, { method: 'POST', body: 'pay' })
    await until(() => runs === 1)
    setup.gateway.tunnelSockets[0]?.destroy()
    const answer = await waiting
    expect([answer.status, await readCode(answer), runs]).toEqual([502, 'tunnel_lost', 1])
  })

  test('in the middle of an answer breaks the answer off', async () => {
    await using setup = await setupTunnel(
      (_, response) => {
        response.writeHead(200, ['content-length', '100'])
        response.write('half')
      },
      { sockets: 1 },
    )
    const answer = await fetch(setup.gateway.url)
    setup.gateway.tunnelSockets[0]?.destroy()
    await expect(answer.text()).rejects.toThrow()
  })

  test('is told to the handler, which stops', async () => {
    const closed: boolean[] = []
    let runs = 0
    await using setup = await setupTunnel(
      (_, response) => {
        runs++
        response.on('close', () => closed.push(response.writableFinished))
      },
      { sockets: 1 },
    )
    const waiting = fetch(setup.gateway.url)
    await until(() => runs === 1)
    setup.gateway.tunnelSockets[0]?.destroy()
    await waiting
    await until(() => closed.length === 1)
    expect(closed).toEqual([false])
  })

  test('with an idempotency key sends the request again through the other socket, body and all', async () => {
    const bodies: string[] = []
    const first: OutgoingResponse[] = []
    await using setup = await setupTunnel(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      bodies.push(body)
      if (bodies.length === 1) first.push(response)
      else response.end('second')
    })
    const waiting = fetch(setup.gateway.url, {
      method: 'POST',
      body: 'pay',
      headers: { 'idempotency-key': 'k' },
    })
    await until(() => first.length === 1)
    const index = setup.gateway.hub.connected().findIndex(({ streams }) => streams === 1)
    setup.gateway.tunnelSockets[index]?.destroy()
    const answer = await waiting
    expect([answer.status, await answer.text(), bodies]).toEqual([200, 'second', ['pay', 'pay']])
  })

  test('does not send a body again of which more went out than is kept', async () => {
    let runs = 0
    await using setup = await setupTunnel((request) => {
      runs++
      request.resume()
    })
    const body = new Uint8Array(limits.tunnelReplayBytesMax + 1)
    const waiting = fetch(setup.gateway.url, { method: 'POST', body, headers: { 'idempotency-key': 'k' } })
    await until(() => runs === 1)
    const index = setup.gateway.hub.connected().findIndex(({ streams }) => streams === 1)
    setup.gateway.tunnelSockets[index]?.destroy()
    expect([(await waiting).status, runs]).toEqual([502, 1])
  })
})

/** Calls all the time while sockets are killed, one after the other. */
async function callWhileKilling(keyed: boolean) {
  const runs = new Map<string, number>()
  await using setup = await setupTunnel((request, response) => {
    const id = String(request.headers['x-id'])
    runs.set(id, (runs.get(id) ?? 0) + 1)
    // Some answers are out before the socket dies, some are not.
    let turns = Number(id) % 7
    const answer = () => {
      if (turns-- > 0) setImmediate(answer)
      else response.end(id)
    }
    answer()
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 32 })
  const answers = new Map<string, string>()
  let nextId = 0
  let isOver = false
  const call = (id: string) =>
    new Promise<void>((resolve, reject) => {
      const headers = { 'x-id': id, ...(keyed && { 'idempotency-key': id }) }
      const outgoing = httpRequest(setup.gateway.url, {
        agent,
        method: Number(id) % 2 ? 'GET' : 'POST',
        headers,
      })
      outgoing.on('error', reject)
      outgoing.on('response', async (incoming) => {
        let body = ''
        for await (const part of incoming) body += part
        answers.set(id, incoming.statusCode === 200 && body === id ? 'fine' : JSON.parse(body).code)
        resolve()
      })
      outgoing.end(Number(id) % 2 ? undefined : 'body')
    })
  const callers = Array.from({ length: 32 }, async () => {
    while (!isOver) await call(String(nextId++))
  })
  for (let kill = 0; kill < 10; kill++) {
    await until(() => setup.gateway.hub.connected().length === 2)
    const before = nextId
    await until(() => nextId > before + 50)
    setup.gateway.tunnelSockets.findLast(({ destroyed }) => !destroyed)?.destroy()
  }
  isOver = true
  await Promise.all(callers)
  agent.destroy()
  return { runs, answers }
}

describe('sockets that are killed under load', () => {
  test('fail no request that has an idempotency key', async () => {
    const { answers } = await callWhileKilling(true)
    expect(answers.size).toBeGreaterThan(500)
    expect([...answers.values()].filter((answer) => answer !== 'fine')).toEqual([])
  })

  test('never make a request without a key run twice; what fails says that the tunnel was lost', async () => {
    const { runs, answers } = await callWhileKilling(false)
    expect(answers.size).toBeGreaterThan(500)
    expect([...runs.values()].filter((count) => count > 1)).toEqual([])
    expect(new Set(answers.values())).toEqual(new Set(['fine', 'tunnel_lost']))
  })
})

describe('a request while no socket is there', () => {
  test('waits for the next one', async () => {
    const clock = createPresentClock()
    await using setup = await setupTunnel((_, response) => void response.end('back'), { sockets: 1, clock })
    setup.gateway.tunnelSockets[0]?.destroy()
    await until(() => setup.gateway.hub.connected().length === 0)
    const waiting = fetch(setup.gateway.url)
    await until(() => setup.tunnel.state === 'reconnecting' && clock.sleepers > 0)
    await clock.advance(limits.tunnelDelayMsMin)
    expect(await (await waiting).text()).toBe('back')
  })

  test('is told after two seconds that the provider is offline', async () => {
    const gatewayClock = createPresentClock()
    const account = newAccount()
    await using gateway = await createTunnelGateway({
      provider: account.address,
      resolveProvider: asOwner(account),
      clock: gatewayClock,
    })
    const tunnel = openTunnel(gateway, account, (_, response) => void response.end(), { clock: gatewayClock })
    await tunnel.connected
    await tunnel[Symbol.asyncDispose]()
    await until(() => gateway.hub.connected().length === 0)
    const before = gatewayClock.sleepers
    const waiting = fetch(gateway.url)
    await until(() => gatewayClock.sleepers > before)
    await gatewayClock.advance(limits.tunnelParkMsMax)
    expect(await readCode(await waiting)).toBe('provider_offline')
    await gatewayClock.advance(1_000)
    expect(gateway.hub.upstreamFor(account.address)).toBe(undefined)
  })
})

describe('a gateway', () => {
  test('that restarts is dialled again, with longer and longer waits, and calls work again', async () => {
    const account = newAccount()
    const clock = createPresentClock()
    const log = createTestLog()
    const resolveProvider = asOwner(account)
    const options = { provider: account.address, resolveProvider, port: await freePort() }
    const first = await createTunnelGateway(options)
    await using tunnel = openTunnel(first, account, (_, response) => void response.end('here'), {
      clock,
      log,
      sockets: 1,
    })
    await tunnel.connected
    await first[Symbol.asyncDispose]()
    await until(() => tunnel.state === 'reconnecting')
    const failures = () => log.lines.filter(({ event }) => event === 'tunnel_failed').length
    let waitedMs = 0
    for (let tries = 0; tries < 6; tries++) {
      const before = failures()
      while (failures() === before) {
        // The client looks every second, and the line waits for its next try.
        await until(() => clock.sleepers > 1 || failures() > before)
        await clock.advance(1)
        waitedMs++
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    // 10, 20, 40, … 320 ms; the jitter's random number stands still in the middle.
    expect(waitedMs).toBeGreaterThanOrEqual(10 + 20 + 40 + 80 + 160 + 320)
    await using again = await createTunnelGateway(options)
    await until(() => clock.sleepers > 1)
    await clock.advance(limits.tunnelRestartDelayMsMax)
    await until(() => again.hub.connected().length === 1)
    expect(await (await fetch(again.url)).text()).toBe('here')
  })

  test('that was away for a minute has its tunnels back within three seconds of its return', async () => {
    const account = newAccount()
    const clock = createPresentClock()
    const port = await freePort()
    const options = { provider: account.address, resolveProvider: asOwner(account), port }
    const first = await createTunnelGateway(options)
    await using tunnel = openTunnel(first, account, (_, response) => void response.end('here'), { clock })
    await until(() => tunnel.status().sockets.length === 2)
    await first[Symbol.asyncDispose]()
    await until(() => tunnel.state === 'reconnecting')
    for (let awayMs = 0; awayMs < 60_000; awayMs += 500) {
      await clock.advance(500)
      // Long enough for a dial to find nobody.
      await fetch(first.url).catch(() => undefined)
    }
    await using again = await createTunnelGateway(options)
    await until(() => clock.sleepers >= 3)
    await clock.advance(3_000)
    await until(() => again.hub.connected().length === 2)
  })

  test('that leaves finishes what is in flight, takes no more tunnels, and then says it is idle', async () => {
    const responses: OutgoingResponse[] = []
    await using setup = await setupTunnel((_, response) => void responses.push(response), {
      clock: createPresentClock(),
    })
    const waiting = fetch(setup.gateway.url)
    await until(() => responses.length === 1)
    let isDrained = false
    const drained = setup.gateway.hub.drain(new AbortController().signal).then(() => (isDrained = true))
    const other = openTunnel(setup.gateway, setup.account, () => {}, {
      sockets: 1,
      clock: createPresentClock(),
    })
    await until(() => other.status().lastError !== undefined)
    expect([other.status().lastError?.code, isDrained]).toEqual(['tunnel_lost', false])
    responses[0]?.end('finished')
    expect(await (await waiting).text()).toBe('finished')
    await drained
    await other[Symbol.asyncDispose]()
  })

  test('that leaves is replaced by the next one before it has gone', async () => {
    const account = newAccount()
    const log = createTestLog()
    const port = await freePort()
    const options = { provider: account.address, resolveProvider: asOwner(account), isShared: true, port }
    const responses: OutgoingResponse[] = []
    const first = await createTunnelGateway(options)
    await using tunnel = openTunnel(first, account, (_, response) => void responses.push(response), {
      log,
      sockets: 1,
    })
    await tunnel.connected
    const waiting = fetch(first.url)
    await until(() => responses.length === 1)
    const stopped = first.stopListening()
    await using second = await createTunnelGateway(options)
    const drained = first.hub.drain(new AbortController().signal)
    await until(() => second.hub.connected().length === 1)
    await until(() => tunnel.status().sockets.length === 2)
    expect(first.hub.connected().length).toBe(1)
    responses[0]?.end('by the first')
    expect(await (await waiting).text()).toBe('by the first')
    await drained
    await first[Symbol.asyncDispose]()
    await stopped
    const next = fetch(second.url)
    await until(() => responses.length === 2)
    responses[1]?.end('by the second')
    expect(await (await next).text()).toBe('by the second')
  })
})

describe('a laptop', () => {
  test('that slept finds its connections dead within seconds of waking, and dials anew', async () => {
    const clock = createPresentClock()
    let sleptMs = 0
    const awake = { ...clock, nowMs: () => clock.nowMs() + sleptMs }
    await using at = await setupFarTunnel((_, response) => void response.end('here'), { clock: awake })
    const ids = () => at.tunnel.status().sockets.map(({ tunnelId }) => tunnelId)
    await until(() => ids().length === 2)
    const before = ids()
    // The router has forgotten the connections meanwhile, and nobody was told.
    for (const connection of at.relay.connections) connection.freeze()
    sleptMs = 3_600_000
    await clock.advance(limits.tunnelTickMs)
    expect(ids()).toEqual(before)
    await clock.advance(limits.tunnelWakeTimeoutMs + limits.tunnelTickMs)
    await until(() => at.tunnel.state === 'reconnecting')
    await clock.advance(limits.tunnelTickMs)
    await until(() => ids().length === 2 && at.gateway.hub.connected().length === 4)
    expect(ids().filter((id) => before.includes(id))).toEqual([])
  })

  test('that slept, and whose connections stand, keeps them', async () => {
    const clock = createPresentClock()
    let sleptMs = 0
    const awake = { ...clock, nowMs: () => clock.nowMs() + sleptMs }
    await using at = await setupFarTunnel((_, response) => void response.end('here'), {
      clock: awake,
      sockets: 1,
    })
    const ids = () => at.tunnel.status().sockets.map(({ tunnelId }) => tunnelId)
    const before = ids()
    sleptMs = 3_600_000
    await clock.advance(limits.tunnelTickMs)
    await fetch(at.gateway.url)
    await clock.advance(limits.tunnelWakeTimeoutMs + limits.tunnelTickMs)
    expect([ids(), await (await fetch(at.gateway.url)).text()]).toEqual([before, 'here'])
  })
})

describe('a provider', () => {
  test('that leaves finishes what is in flight, and another process takes over without a failed request', async () => {
    let runs = 0
    const slow: OutgoingResponse[] = []
    await using setup = await setupTunnel((request, response) => {
      if (request.url === '/slow') slow.push(response)
      else response.end('first')
    })
    const waiting = fetch(`${setup.gateway.url}/slow`)
    await until(() => slow.length === 1)
    await using second = openTunnel(setup.gateway, setup.account, (_, response) => {
      runs++
      response.end('second')
    })
    await second.connected
    let isOver = false
    const statuses = new Set<number>()
    const callers = Array.from({ length: 8 }, async () => {
      while (!isOver) statuses.add((await fetch(setup.gateway.url, { method: 'POST', body: 'x' })).status)
    })
    const left = setup.tunnel[Symbol.asyncDispose]()
    await until(() => runs > 50)
    slow[0]?.end('finished')
    expect(await (await waiting).text()).toBe('finished')
    await left
    isOver = true
    await Promise.all(callers)
    expect([[...statuses], setup.tunnel.state]).toEqual([[200], 'closed'])
  })

  test('that is aborted lets go of everything at once', async () => {
    const abort = new AbortController()
    const handler: RequestListener = (_, response) => {
      response.writeHead(200, [])
      response.write('half')
    }
    await using setup = await setupTunnel(handler, { signal: abort.signal })
    const answer = await fetch(setup.gateway.url)
    abort.abort(new Error('enough'))
    await expect(answer.text()).rejects.toThrow()
    await setup.tunnel.closed
    expect(setup.tunnel.state).toBe('closed')
    await until(() => setup.gateway.hub.connected().length === 0)
  })
})
