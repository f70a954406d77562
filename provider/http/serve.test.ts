import { get } from 'node:http'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { readBounded } from '../../protocol/base/bytes.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createFront } from './serve.ts'

const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

test('a provider takes as many calls at once as it may, refuses one more, and takes the next when one has ended', async () => {
  const open: OutgoingResponse[] = []
  await using served = await serve((response) => open.push(response))
  const { call } = served
  const calls = Array.from({ length: limits.callsInFlightPerProviderMax }, call)
  const reaches = async (count: number) => {
    while (open.length < count) await new Promise((resolve) => setImmediate(resolve))
  }
  await reaches(limits.callsInFlightPerProviderMax)
  const refused = await call()
  expect(refused.status).toBe(503)
  expect(JSON.parse(refused.body)).toMatchObject({ code: 'provider_busy', retryable: true })

  open[0]?.writeHead(200, []).end('first')
  expect((await Promise.race(calls)).body).toBe('first')
  const next = call()
  await reaches(limits.callsInFlightPerProviderMax + 1)
  for (const response of open.slice(1)) response.writeHead(200, []).end('rest')
  expect((await next).body).toBe('rest')
  await Promise.all(calls)
})

test('a provider that drains finishes what it has, tells others when to come back, and still shows its pages', async () => {
  const open: OutgoingResponse[] = []
  const started = Promise.withResolvers<void>()
  await using served = await serve((response) => {
    open.push(response)
    started.resolve()
  })
  const running = served.call()
  await started.promise
  let isDrained = false
  const drained = served.front.drain().then(() => {
    isDrained = true
  })
  const refused = await served.call()
  expect([refused.status, refused.retryAfter]).toEqual([503, String(limits.stoppingRetryAfterSeconds)])
  expect(JSON.parse(refused.body)).toMatchObject({ code: 'provider_stopping', retryable: true })
  expect((await served.call('/healthz')).body).toBe('ok')
  expect(isDrained).toBe(false)
  open[0]?.writeHead(200, []).end('whole')
  expect(await running).toMatchObject({ status: 200, body: 'whole' })
  await drained
})

/** A front whose calls the test answers itself. */
async function serve(onCall: (response: OutgoingResponse) => unknown) {
  const front = createFront({
    log: createTestLog(),
    pages: new Hono().get('/healthz', (c) => c.text('ok')),
    reveal: () => Promise.reject(new Error('Nobody votes here.')),
    runCall: async ({ response }) => void onCall(response),
  })
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    onRequest: front.onRequest,
    shutdownTimeoutMs: 1,
  })
  return {
    front,
    call: (path = `/${cid}/`) =>
      new Promise<{ status: number | undefined; retryAfter: string | undefined; body: string }>(
        (resolve, reject) => {
          get({ port: server.port, path, agent: false }, (response) => {
            readBounded(response, 4096).then((bytes) => {
              const { statusCode: status, headers } = response
              resolve({
                status,
                retryAfter: headers['retry-after'],
                body: Buffer.from(bytes ?? []).toString(),
              })
            }, reject)
          }).on('error', reject)
        },
      ),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}
