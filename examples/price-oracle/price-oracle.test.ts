import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { formatPrice, median, parsePrice } from './src/decimal.ts'
import program from './src/index.ts'

/** A server of one's own answers in the exchanges' place, with what lies in `samples/`. */
const answers = new Map<string, string | number>()
const server = createServer((request, response) => {
  const answer = answers.get(request.url ?? '') ?? 404
  if (typeof answer === 'number') response.writeHead(answer, { location: '/elsewhere' }).end()
  else response.end(answer)
}).listen(0, '127.0.0.1')
await once(server, 'listening')
afterAll(() => server.close())

const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
const sample = (name: string) => readFile(new URL(`samples/${name}.json`, import.meta.url), 'utf8')
const params = {
  quorum: 2,
  sources: [
    { url: `http://${host}/coinbase/{BASE}-{QUOTE}`, price: ['data', 'amount'] },
    { url: `http://${host}/bitstamp/{base}{quote}`, price: ['last'] },
    { url: `http://${host}/gemini/{base}{quote}`, price: ['last'] },
  ],
}
const ask = (path: string, init?: RequestInit) =>
  program.fetch(new Request(new URL(path, 'http://alice.localhost'), init), { params })

beforeEach(async () => {
  answers.set('/coinbase/BTC-USD', await sample('coinbase'))
  answers.set('/bitstamp/btcusd', await sample('bitstamp'))
  answers.set('/gemini/btcusd', await sample('gemini'))
})

test('the price is the median of what the sources say', async () => {
  const response = await ask('/?pair=btc-usd')
  expect([response.status, await response.json()]).toEqual([
    200,
    {
      pair: 'BTC-USD',
      price: '64010.255',
      sources: [
        { host, price: '64010.255' },
        { host, price: '64002' },
        { host, price: '64019.11' },
      ],
    },
  ])
})

test.each([
  ['is away', 503, 'status 503'],
  ['has no such pair', 404, 'status 404'],
  ['sends elsewhere', 302, 'status 302'],
  ['answers no JSON', 'out of order', 'SyntaxError'],
  ['has no price', '{"last":null}', 'no price in its answer'],
  ['has a price that is none', '{"last":"-1"}', 'no price in its answer'],
  ['never ends', `{"last":"${'1'.repeat(100_000)}"}`, 'RangeError'],
])('one source that %s is one voice less', async (_, answer, error) => {
  answers.set('/bitstamp/btcusd', answer)
  const response = await ask('/?pair=BTC-USD')
  expect(response.status).toBe(200)
  expect(await response.json()).toEqual({
    pair: 'BTC-USD',
    price: '64014.6825',
    sources: [
      { host, price: '64010.255' },
      { host, error },
      { host, price: '64019.11' },
    ],
  })
})

test('without enough sources there is no price, and it is told why', async () => {
  answers.set('/bitstamp/btcusd', 500)
  answers.set('/gemini/btcusd', 500)
  const response = await ask('/?pair=BTC-USD')
  expect(response.status).toBe(502)
  expect(await response.json()).toMatchObject({
    error: '1 of 3 sources have a price, and 2 are needed.',
    sources: [{ price: '64010.255' }, { error: 'status 500' }, { error: 'status 500' }],
  })
})

test.each([
  '/',
  '/?pair=',
  '/?pair=BTC',
  '/?pair=BTC-USD&pair=ETH-USD',
  '/?pair=../../x-y',
  '/?pair=a-b%40c',
])('GET %s is refused, naming the field', async (path) => {
  const response = await ask(path)
  expect([response.status, await response.json()]).toMatchObject([400, { field: 'pair' }])
})

test('other methods and other paths have their own status', async () => {
  expect((await ask('/?pair=BTC-USD', { method: 'POST' })).status).toBe(405)
  expect((await ask('/BTC-USD')).status).toBe(404)
})

test('prices are exact, and the median is one of them or between its two neighbours', () => {
  expect(parsePrice('0.123456789')).toBe(12_345_678n)
  expect(formatPrice(12_345_678n)).toBe('0.12345678')
  const price = fc.bigInt(1n, 10n ** 24n)
  fc.assert(fc.property(price, (value) => parsePrice(formatPrice(value)) === value))
  fc.assert(
    fc.property(fc.array(price, { minLength: 1, maxLength: 9 }), (prices) => {
      const middle = median(prices)
      const below = prices.filter((value) => value <= middle).length
      const above = prices.filter((value) => value >= middle).length
      expect(Math.min(below, above)).toBeGreaterThanOrEqual(Math.floor(prices.length / 2))
    }),
  )
})
