import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import { limits } from '../../protocol/limits.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'

/** Callers who leave, or go too far, once they have what they came for. */

let at: TestMarket
let cid: string
beforeAll(async () => {
  at = await openMarket()
  cid = (await at.deploy(echoProgram, '--payer', 'caller', '--provider', 'alice', '--provider', 'bob')).cid
})
afterAll(() => at[Symbol.asyncDispose]())

/** A call that was broken off is booked behind its caller's back, so the receipt is asked for until it is there. */
async function readReceipt(provider: string, callId: string): Promise<unknown> {
  for (;;) {
    const answer = await at.call({ provider, path: `/_/receipts/${callId}` })
    if (answer.status === 200) return answer.json()
  }
}

describe.each(['alice', 'bob'])('a caller of %s', (provider) => {
  const price = { paid: { payer: 500n }, earned: { [provider]: 500n } }

  async function begin(path: string, method = 'GET'): Promise<ClientRequest> {
    const { port, domain } = at.dev.gateway
    const pass = await at.pass()
    const headers = ['host', `${provider}.${domain}`, 'authorization', `Bearer ${pass}`]
    if (method === 'POST') headers.push('transfer-encoding', 'chunked')
    return request({ port, method, path: `/${cid}${path}`, headers, agent: false }).on(
      'error',
      () => undefined,
    )
  }

  /** Waits for the first piece of an answer. @returns the id of the call */
  async function readSome(call: ClientRequest): Promise<string> {
    const [answer] = (await once(call, 'response')) as [IncomingMessage]
    answer.on('error', () => undefined)
    await once(answer, 'data')
    return String(answer.headers['khachapuri-call'])
  }

  test('who leaves in the middle of an answer has had it', async () => {
    const costs = await at.costsOf(async () => {
      const call = await begin('/lines/1000?everyMs=5')
      call.end()
      const callId = await readSome(call)
      call.destroy()
      expect(await readReceipt(provider, callId)).toMatchObject({ outcome: 'caller_gone', price: '500' })
    })
    expect(costs).toEqual(price)
  })

  test('who leaves in the middle of its own request has had what came of it', async () => {
    const costs = await at.costsOf(async () => {
      const call = await begin('/body', 'POST')
      call.write(Buffer.alloc(1000))
      const callId = await readSome(call)
      call.destroy()
      expect(await readReceipt(provider, callId)).toMatchObject({ outcome: 'caller_gone', price: '500' })
    })
    expect(costs).toEqual(price)
  })
})

test('who reads the answer to a request that grows too large pays for it', async () => {
  const pieces = Array.from({ length: limits.requestBodyBytesMax / MiB + 1 }, () => Buffer.alloc(MiB))
  const { hostname, port } = at.dev.providers.alice.url as URL
  const headers = { authorization: `Bearer ${await at.pass()}`, 'transfer-encoding': 'chunked' }
  const costs = await at.costsOf(async () => {
    const call = request({ hostname, port, method: 'POST', path: `/${cid}/body`, headers, agent: false })
    Readable.from(pieces).pipe(call.on('error', () => undefined))
    const [answer] = (await once(call, 'response')) as [IncomingMessage]
    await new Promise((resolve) =>
      answer
        .on('error', () => undefined)
        .on('close', resolve)
        .resume(),
    )
    expect(answer.complete).toBe(false)
    const receipt = await readReceipt('alice', String(answer.headers['khachapuri-call']))
    expect(receipt).toMatchObject({ outcome: 'caller_gone', price: '500' })
  })
  expect(costs).toEqual({ paid: { payer: 500n }, earned: { alice: 500n } })
})
