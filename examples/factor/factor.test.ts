import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { factorise, isPrime, numMax } from './src/factorise.ts'
import program from './src/index.ts'

const send = (path: string, init?: RequestInit) =>
  program.fetch(new Request(new URL(path, 'http://alice.localhost'), init))
const post = (body: string | Uint8Array<ArrayBuffer>) => send('/', { method: 'POST', body })
const readInput = (name: string) => readFile(new URL(name, import.meta.url), 'utf8')

test('the body is exactly the list, without a newline', async () => {
  const response = await post(await readInput('sample.json'))
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
  expect(await response.text()).toBe('2,2,2,3,5,5')
})

test('a number of 82 bits with two large prime factors, sent as a string', async () => {
  const response = await post(await readInput('large.json'))
  expect(await response.text()).toBe('1821275000009,1821275000053')
})

test.each([
  ['2', '2'],
  ['600', '2,2,2,3,5,5'],
  ['1018081', '1009,1009'],
  ['9007199254740991', '6361,69431,20394401'],
  ['18446744073709551557', '18446744073709551557'],
])('GET ?num=%s answers %s', async (num, primes) => {
  const response = await send(`/?num=${num}`)
  expect([response.status, await response.text()]).toEqual([200, primes])
})

test.each([
  ['{}', 'is missing'],
  ['{"num":null}', 'is not a whole number'],
  ['{"num":1.5}', 'is not a whole number'],
  ['{"num":-4}', 'is not a whole number'],
  ['{"num":"0x10"}', 'is not a whole number'],
  ['{"num":" 600"}', 'is not a whole number'],
  ['{"num":[600]}', 'is not a whole number'],
  ['{"num":0}', 'is not within 2 …'],
  ['{"num":"1"}', 'is not within 2 …'],
  ['{"num":"3317044064679887385961981"}', 'is not within 2 …'],
  ['{"num":9007199254740993}', 'is too large for a JSON number'],
  [`{"num":"${'9'.repeat(900)}"}`, 'is not a whole number'],
])('%s is refused, naming the field', async (body, error) => {
  const response = await post(body)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ field: 'num', error: expect.stringContaining(error) })
})

test.each([
  ['', 'The body is not JSON.'],
  ['num=600', 'The body is not JSON.'],
  ['[600]', 'The body is not a JSON object.'],
  ['null', 'The body is not a JSON object.'],
])('the body %j is refused with the way to do it right', async (body, error) => {
  const response = await post(body)
  expect(response.status).toBe(400)
  expect(await response.json()).toEqual({ error, hint: 'Send GET /?num=600, or POST / with {"num":600}.' })
})

test.each(['/', '/?num=', '/?num=6e2', '/?num=2&num=3'])(
  'GET %s is refused, naming the field',
  async (path) => {
    const response = await send(path)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ field: 'num' })
  },
)

test('other methods, other paths and long bodies have their own status', async () => {
  const wrongMethod = await send('/', { method: 'DELETE' })
  expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
  expect((await send('/favicon.ico')).status).toBe(404)
  expect((await post(new Uint8Array(1025))).status).toBe(413)
})

test('whatever the number, its factors are prime, in order, and multiply to it', () => {
  const nums = fc.oneof(fc.bigInt(2n, numMax), fc.bigInt(2n, 1_000_000n))
  fc.assert(
    fc.property(nums, (num) => {
      const result = factorise(num)
      if (result.kind !== 'factored') return false
      const { primes } = result
      return (
        primes.every(isPrime) &&
        primes.every((prime, index) => index === 0 || primes[index - 1]! <= prime) &&
        primes.reduce((product, prime) => product * prime) === num
      )
    }),
    { numRuns: 60, seed: 600 },
  )
})

test('primality agrees with trial division', () => {
  const isPrimeByTrial = (num: number) => {
    for (let divisor = 2; divisor * divisor <= num; divisor += 1) if (num % divisor === 0) return false
    return num >= 2
  }
  for (let num = 0; num < 5_000; num += 1) expect(isPrime(BigInt(num)), `${num}`).toBe(isPrimeByTrial(num))
})

test('the work is bounded', () => {
  expect(factorise(3317042625737919050000477n, 1_000)).toEqual({ kind: 'exhausted' })
})
