import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createHttpPool } from '../../protocol/http/h1-client.ts'
import { listen } from '../../protocol/http/listen.ts'
import { type LoadOptions, runLoad } from './run-load.ts'

/** A server that answers with 204, 404 and a refusal in turn, each with a price, and says how many it had at a time. */
async function createServer() {
  let [calls, inFlight, most] = [0, 0, 0]
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    onRequest(request, response) {
      most = Math.max(most, ++inFlight)
      request.resume().on('end', () => {
        inFlight--
        const turn = calls++ % 3
        const type = turn === 2 ? 'application/problem+json' : 'text/plain'
        const status = [200, 404, 402][turn] as number
        response.writeHead(status, ['khachapuri-price', '500', 'content-type', type])
        response.end('12345')
      })
    },
  })
  return { listener, facts: () => ({ calls, most }) }
}

function openPool(port: number, connectionsMax: number) {
  return createHttpPool({ connect: () => connect({ host: '127.0.0.1', port }), connectionsMax })
}

const options: LoadOptions = {
  request: { method: 'GET', target: '/', rawHeaders: ['host', 'x'] },
  connections: 4,
  durationMs: 60_000,
  callsMax: 30,
}

test('not one call more than allowed is sent, and each is counted once', async () => {
  const { listener, facts } = await createServer()
  await using _listener = listener
  using upstream = openPool(Number(listener.url.port), 4)
  const result = await runLoad({ clock: systemClock, upstream }, options, new AbortController().signal)
  expect(facts().calls).toBe(30)
  expect(facts().most).toBeLessThanOrEqual(4)
  expect(result).toMatchObject({
    sent: 30,
    statuses: { 200: 10, 404: 10, 402: 10 },
    refused: 10,
    failures: {},
    bytes: 150,
    chargedUsdc: 10_000n,
  })
  expect(result.latency.count).toBe(30)
  expect(result.latency.percentile(50)).toBeLessThanOrEqual(result.latency.percentile(99))
})

test('time and Ctrl-C end it, after what is under way', async () => {
  const { listener, facts } = await createServer()
  await using _listener = listener
  using upstream = openPool(Number(listener.url.port), 4)
  const deps = { clock: systemClock, upstream }
  const timed = await runLoad(
    deps,
    { ...options, durationMs: 50, callsMax: 1e9 },
    new AbortController().signal,
  )
  expect(timed.elapsedMs).toBeGreaterThanOrEqual(50)
  expect(timed.latency.count).toBe(timed.sent)
  const stop = new AbortController()
  let seen = 0
  const counting = {
    monotonicMs() {
      if (++seen > 100) stop.abort()
      return systemClock.monotonicMs()
    },
  }
  const stopped = await runLoad({ clock: counting, upstream }, { ...options, callsMax: 1e9 }, stop.signal)
  expect(stopped.sent).toBeGreaterThan(0)
  expect(stopped.latency.count).toBe(stopped.sent)
  expect(facts().calls).toBe(timed.sent + stopped.sent)
})

test('where nobody answers it ends at once, with why', async () => {
  const { listener } = await createServer()
  await listener[Symbol.asyncDispose]()
  using upstream = openPool(Number(listener.url.port), 4)
  const running = runLoad(
    { clock: systemClock, upstream },
    { ...options, callsMax: 1e9 },
    new AbortController().signal,
  )
  await expect(running).rejects.toMatchObject({ code: 'provider_unreachable' })
})
