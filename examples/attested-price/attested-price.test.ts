import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { activations } from './src/index.ts'
import { minuteOf, toCents } from './src/read-price.ts'

/** A server of one's own answers in the exchange's place, with what lies in `samples/`. */
const sample = await readFile(new URL('samples/candles.json', import.meta.url), 'utf8')
let answer: { status: number; body: string }
const asked: string[] = []
const server = createServer((request, response) => {
  asked.push(request.url ?? '')
  response.writeHead(answer.status).end(answer.body)
}).listen(0, '127.0.0.1')
await once(server, 'listening')
afterAll(() => server.close())
beforeEach(() => {
  answer = { status: 200, body: sample }
  asked.length = 0
})

const signed: string[] = []
const context = {
  env: { params: { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } },
  programId: `0x${'5a'.repeat(32)}`,
  // What is signed is looked at here; that it is, test/system/attest.test.ts sees.
  attest: async (message: Uint8Array) => {
    signed.push(new TextDecoder().decode(message))
    return message.slice(0, 2)
  },
}
beforeEach(() => {
  signed.length = 0
})

test('attests to the price at which the minute opened, in cents', async () => {
  const said = await activations.attest_price({ time: 1_700_000_079, symbol: 'BTC-USD' }, context)
  expect(signed).toEqual(['{"symbol":"BTC-USD","minute":1700000040,"cents":3665039}'])
  expect(said).toMatchObject({
    symbol: 'BTC-USD',
    minute: 1_700_000_040,
    cents: 3_665_039,
    signature: '0x7b22',
  })
  expect(Buffer.from(said.message.slice(2), 'hex').toString()).toBe(signed[0])
  expect(asked).toEqual([
    '/products/BTC-USD/candles?granularity=60&start=2023-11-14T22%3A14%3A00.000Z&end=2023-11-14T22%3A15%3A00.000Z',
  ])
})

test('attests to each bit of it, the lowest first, and to no more than the bits hold', async () => {
  const ask = (bits: number) =>
    activations.attest_price_bits({ time: 1_700_000_040, symbol: 'BTC-USD', bits }, context)
  const sumOf = () => signed.reduce((sum, text, index) => sum + JSON.parse(text).value * 2 ** index, 0)
  expect((await ask(24)).bits).toHaveLength(24)
  expect(sumOf()).toBe(3_665_039)
  expect(signed[23]).toBe('{"symbol":"BTC-USD","minute":1700000040,"bits":24,"index":23,"value":0}')
  signed.length = 0
  await ask(8)
  expect(sumOf()).toBe(255)
})

test.each([
  ['has no such minute', 200, '[[1700000000,1,1,1,1,1]]', 'no price of BTC-USD'],
  ['is away', 503, '', 'status 503'],
  ['answers no JSON', 200, 'out of order', 'JSON'],
  ['has no number', 200, '[[1700000040,1,1,"1",1,1]]', 'no price'],
  ['answers with too much', 200, `[${' '.repeat(70_000)}]`, 'too much'],
])('says so where the exchange %s', async (_, status, body, why) => {
  answer = { status, body }
  await expect(activations.attest_price({ time: 1_700_000_040, symbol: 'BTC-USD' }, context)).rejects.toThrow(
    why,
  )
  expect(signed).toEqual([])
})

test('a minute counts once it is over, and a symbol is one', async () => {
  expect(minuteOf(119, 120_000)).toBe(60)
  expect(() => minuteOf(119, 119_999)).toThrow('not over')
  await expect(activations.attest_price({ time: 0, symbol: '../x' }, context)).rejects.toThrow('no symbol')
  expect(asked).toEqual([])
})

test('cents are read off the digits', () => {
  expect([64010.29, 0.07, 12, 1.005, 0].map(toCents)).toEqual([6_401_029, 7, 1200, 100, 0])
  expect([-1, 1e21, Number.NaN, '1', null].map(toCents)).toEqual(Array(5).fill(undefined))
})
