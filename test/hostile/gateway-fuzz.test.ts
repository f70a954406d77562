import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type GatewayFront, openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'

interface Echo {
  readonly bytes: number
  readonly parts: number
  readonly isSized: boolean
  /** After how many bytes of the answer the caller leaves; beyond its size, it stays. */
  readonly leavesAfter: number
  /** How often the caller takes a rest while it reads. */
  readonly rests: number
}

/** One upload that comes back. @returns whether it came back whole and unchanged, or why that was not to be. */
async function echo(front: GatewayFront, call: Echo): Promise<'same' | 'corrupt' | 'left'> {
  const body = randomBytes(call.bytes)
  const headers = call.isSized ? { 'content-length': body.length } : { 'transfer-encoding': 'chunked' }
  const request = front.send('alice.localhost', { method: 'POST', headers })
  request.on('error', () => undefined)
  for (let part = 0; part < call.parts; part++) {
    const from = Math.floor((part * body.length) / call.parts)
    request.write(body.subarray(from, Math.floor(((part + 1) * body.length) / call.parts)))
    if (part % 2 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  request.end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const hash = createHash('sha256')
  let receivedBytes = 0
  let rests = call.rests
  for await (const chunk of response) {
    receivedBytes += (chunk as Buffer).length
    hash.update(chunk as Buffer)
    if (receivedBytes > call.leavesAfter) {
      request.destroy()
      return 'left'
    }
    if (rests-- > 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return hash.digest('hex') === createHash('sha256').update(body).digest('hex') ? 'same' : 'corrupt'
}

test('many echoes at once, cut anyhow, read slowly and sometimes left alone: none is ever another, or half', async () => {
  await using provider = await openOrigin((request, response) => void request.pipe(response))
  await using front = await openGatewayFront({ alice: provider.url }, { logsCalls: false })
  const anyEcho = fc.record({
    bytes: fc.oneof(fc.nat({ max: 100 }), fc.nat({ max: 300_000 })),
    parts: fc.integer({ min: 1, max: 8 }),
    isSized: fc.boolean(),
    leavesAfter: fc.oneof(
      { weight: 4, arbitrary: fc.constant(1e9) },
      { weight: 1, arbitrary: fc.nat({ max: 200_000 }) },
    ),
    rests: fc.nat({ max: 5 }),
  })
  const outcomes = { same: 0, corrupt: 0, left: 0 }
  await fc.assert(
    fc.asyncProperty(fc.array(anyEcho, { minLength: 16, maxLength: 16 }), async (calls) => {
      for (const outcome of await Promise.all(calls.map((call) => echo(front, call)))) outcomes[outcome]++
      expect(outcomes.corrupt).toBe(0)
    }),
    { numRuns: 30 },
  )
  expect(outcomes.same).toBeGreaterThan(100)
  expect(outcomes.left).toBeGreaterThan(0)
})
