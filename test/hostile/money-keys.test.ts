import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import { echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** Idempotency keys in the hands of strangers, and of callers whose connection breaks. */

let at: TestMarket
let byOwner: string
let byCaller: string
beforeAll(async () => {
  at = await openMarket()
  const both = ['--provider', 'alice', '--provider', 'bob', '--calls-per-minute', 'none']
  byOwner = (await at.deploy(echoProgram, ...both)).cid
  byCaller = (await at.deploy(echoProgram, ...both, '--payer', 'caller')).cid
})
afterAll(() => at[Symbol.asyncDispose]())

test.each([
  ['authorization', 'Bearer of-the-victim'],
  ['cookie', 'session=of-the-victim'],
  ['x-api-key', 'of-the-victim'],
])("nobody gets another caller's answer by its key: %s tells them apart", async (name, value) => {
  const key = ['idempotency-key', randomUUID()]
  const victim = { cid: byOwner, rawHeaders: [...key, name, value] }
  const first = await at.call(victim)
  expect(first.text).toContain('of-the-victim')
  for (const rawHeaders of [key, [...key, name, 'of-another']]) {
    const answer = await at.call({ cid: byOwner, rawHeaders })
    expect(answer.problem().code).toBe('idempotency_conflict')
    expect(answer.text).not.toContain('of-the-victim')
  }
  const again = await at.call(victim)
  expect([again.text, again.header('khachapuri-replayed')]).toEqual([first.text, 'true'])
})

test('a repetition may come with a newer pass of the same payer', async () => {
  const call = { cid: byCaller, path: '/instance', rawHeaders: ['idempotency-key', randomUUID()] }
  const costs = await at.costsOf(async () => {
    const first = await at.call({ ...call, pass: await at.pass() })
    const second = await at.call({ ...call, pass: await at.pass() })
    expect([second.text, second.header('khachapuri-replayed')]).toEqual([first.text, 'true'])
  })
  expect(costs).toEqual({ paid: { payer: 500n }, earned: { alice: 500n } })
})

test.each(['alice', 'bob'])(
  'a connection to %s that breaks costs once, and the key has the answer',
  async (provider) => {
    const call = { provider, cid: byOwner, path: '/lines/20?everyMs=20' }
    const rawHeaders = ['idempotency-key', randomUUID()]
    const costs = await at.costsOf(async () => {
      await readFirstBytes({ ...call, rawHeaders })
      const again = await at.call({ ...call, rawHeaders })
      expect([again.status, again.header('khachapuri-replayed')]).toEqual([200, 'true'])
      expect(again.text.trimEnd().split('\n')).toHaveLength(20)
      const receipt = await at.call({ provider, path: `/_/receipts/${again.header('khachapuri-call')}` })
      expect(receipt.json()).toMatchObject({ outcome: 'answered', status: 200, price: '500' })
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { [provider]: 500n } })
  },
)

test.each(['alice', 'bob'])(
  '%s says so where a body of unknown length is too large to be compared',
  async (provider) => {
    const chunks = Array.from({ length: 9 }, () => Buffer.alloc(MiB))
    const rawHeaders = ['idempotency-key', randomUUID()]
    const body = Readable.from(chunks)
    const costs = await at.costsOf(async () => {
      const answer = await at.call({ provider, cid: byOwner, method: 'POST', rawHeaders, body })
      expect([answer.status, answer.problem().code]).toEqual([413, 'body_too_large'])
    })
    expect(costs).toEqual(nothing)
  },
)

/** A caller who has the first bytes of an answer and breaks off. */
async function readFirstBytes(call: { provider: string; cid: string; path: string; rawHeaders: string[] }) {
  const { port, domain } = at.dev.gateway
  const outgoing = request({
    port,
    path: `/${call.cid}${call.path}`,
    headers: ['host', `${call.provider}.${domain}`, ...call.rawHeaders],
    agent: false,
  }).end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  await once(answer, 'data')
  answer.on('error', () => undefined).destroy()
}
