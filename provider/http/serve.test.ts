import { get } from 'node:http'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { readBounded } from '../../protocol/base/bytes.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createListener } from './serve.ts'

const cid = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

test('a provider takes as many calls at once as it may, refuses one more, and takes the next when one has ended', async () => {
  const open: OutgoingResponse[] = []
  const listener = createListener({
    log: createTestLog(),
    pages: new Hono(),
    runCall: async ({ response }) => void open.push(response),
  })
  await using server = await listen({ host: '127.0.0.1', port: 0, onRequest: listener, shutdownTimeoutMs: 1 })
  const call = () =>
    new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
      get({ port: server.port, path: `/${cid}/`, agent: false }, (response) => {
        readBounded(response, 4096).then(
          (bytes) => resolve({ status: response.statusCode, body: Buffer.from(bytes ?? []).toString() }),
          reject,
        )
      }).on('error', reject)
    })
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
