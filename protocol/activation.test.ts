import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Activations,
  activationsSchema,
  explainNoActivations,
  findActivation,
  readActivationParams,
} from './activation.ts'
import { utf8 } from './base/bytes.ts'
import { isProtocolError } from './errors.ts'

const activations: Activations = {
  scale: {
    params: {
      symbol: { type: 'string', maxLength: 5 },
      unit: { type: 'string', oneOf: ['usd', 'eur'], optional: true },
      time: { type: 'integer', min: 0, max: 2 ** 40 },
      factor: { type: 'number', optional: true },
      rounded: { type: 'boolean', optional: true },
    },
  },
  store: { verbs: ['POST'] },
}

const get = (query: string) => {
  const call = findActivation(activations, { method: 'GET', target: `/_/activate/scale?${query}` })!
  return utf8.decode(readActivationParams(call, new Uint8Array()))
}
const post = (json: string | object, query = '') => {
  const call = findActivation(activations, { method: 'POST', target: `/_/activate/scale${query}` })!
  return utf8.decode(
    readActivationParams(call, utf8.encode(typeof json === 'string' ? json : JSON.stringify(json))),
  )
}

function refusal(ask: () => unknown) {
  try {
    ask()
  } catch (error) {
    if (isProtocolError(error)) return { code: error.code, ...error.details }
    throw error
  }
  return 'none'
}

test('a GET and a POST with the same params are the same bytes', () => {
  const expected = '{"factor":-0.5,"rounded":true,"symbol":"B+ C","time":7,"unit":"eur"}'
  expect(get('time=7&symbol=B%2B+C&factor=-5e-1&rounded=true&unit=eur')).toBe(expected)
  expect(post({ unit: 'eur', symbol: 'B+ C', time: 7, rounded: true, factor: -0.5 })).toBe(expected)
  expect(post('{"time":0.0,"symbol":"","factor":-0}')).toBe(get('time=0&symbol=&factor=-0'))

  fc.assert(
    fc.property(
      fc.record({
        symbol: fc.string({ unit: 'grapheme', maxLength: 5 }).filter((text) => text.length <= 5),
        time: fc.integer({ min: 0 }),
        factor: fc.double({ noNaN: true, noDefaultInfinity: true }),
        rounded: fc.boolean(),
      }),
      (params) => {
        const query = Object.entries(params).map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
        expect(get(query.join('&'))).toBe(post(params))
      },
    ),
  )
})

test.each([
  ['symbol=BTC', 'time'],
  ['time=&symbol=BTC', 'time'],
  ['time=+7&symbol=BTC', 'time'],
  ['time=0x7&symbol=BTC', 'time'],
  ['time=7.5&symbol=BTC', 'time'],
  ['time=-1&symbol=BTC', 'time'],
  ['time=9007199254740993&symbol=BTC', 'time'],
  ['time=7&symbol=BTCUSD', 'symbol'],
  ['time=7&symbol=%ff', 'symbol'],
  ['time=7&symbol=A&symbol=A', 'symbol'],
  ['time=7&symbol=A&unit=gbp', 'unit'],
  ['time=7&symbol=A&factor=Infinity', 'factor'],
  ['time=7&symbol=A&factor=1e999', 'factor'],
  ['time=7&symbol=A&rounded=yes', 'rounded'],
  ['time=7&symbol=A&other=1', 'other'],
  ['time=7&symbol=A&__proto__=1', '__proto__'],
])('?%s is refused for its param %s', (query, param) => {
  expect(refusal(() => get(query))).toEqual({ code: 'activation_param_invalid', param })
})

test.each([
  [{ symbol: 'A' }, 'time'],
  [{ symbol: 'A', time: '7' }, 'time'],
  [{ symbol: 'A', time: 7.5 }, 'time'],
  [{ symbol: 'A', time: null }, 'time'],
  [{ symbol: ['A'], time: 7 }, 'symbol'],
  [{ symbol: '\ud800', time: 7 }, 'symbol'],
  [{ symbol: 'A', time: 7, rounded: 'true' }, 'rounded'],
  [{ symbol: 'A', time: 7, toString: 1 }, 'toString'],
  ['{"symbol":"A","time":7,"__proto__":{"unit":"eur"}}', '__proto__'],
])('%j is refused for its param %s', (body, param) => {
  expect(refusal(() => post(body))).toEqual({ code: 'activation_param_invalid', param })
})

test('what is no JSON object, and params in two places, are refused', () => {
  for (const body of ['[]', '"a"', '{', '{}{}'])
    expect(refusal(() => post(body))).toEqual({ code: 'bad_request' })
  expect(refusal(() => post({ symbol: 'A', time: 7 }, '?time=7'))).toEqual({ code: 'bad_request' })
  const call = findActivation(activations, { method: 'GET', target: '/_/activate/scale?time=7&symbol=A' })!
  expect(refusal(() => readActivationParams(call, utf8.encode('{}')))).toEqual({ code: 'bad_request' })
})

test('unknown names and wrong verbs are told apart, and everything else is for the program’s handler', () => {
  const find = (method: string, target: string) =>
    refusal(() => expect(findActivation(activations, { method, target })).toBeUndefined())
  expect(find('GET', '/_/activate/missing')).toEqual({ code: 'activation_unknown' })
  expect(find('GET', '/_/activate/constructor?a=b')).toEqual({ code: 'activation_unknown' })
  expect(find('GET', '/_/activate')).toEqual({ code: 'activation_unknown' })
  expect(find('GET', '/_/activate/store')).toEqual({ code: 'method_not_allowed', allow: ['POST'] })
  expect(find('DELETE', '/_/activate/scale')).toEqual({ code: 'method_not_allowed', allow: ['GET', 'POST'] })
  expect(find('GET', '/_/activated')).toBe('none')
  expect(find('GET', '/scale')).toBe('none')
  expect(findActivation(undefined, { method: 'GET', target: '/_/activate/scale' })).toBeUndefined()
})

test('whatever the query, there are params or a refusal', () => {
  fc.assert(
    fc.property(fc.string(), (query) => {
      refusal(() => get(query))
    }),
  )
})

test('a list of activations is bounded, and only a js program that lists one can attest', () => {
  const accepts = (value: unknown) => activationsSchema.safeParse(value).success
  expect(accepts(activations)).toBe(true)
  expect(accepts({ Scale: {} })).toBe(false)
  expect(activationsSchema.parse(JSON.parse('{"__proto__":{"a":{}}}'))).toEqual({})
  expect(accepts({ scale: { verbs: ['GET', 'GET'] } })).toBe(false)
  expect(accepts({ scale: { verbs: ['PUT'] } })).toBe(false)
  expect(accepts({ scale: { params: { a: { type: 'string', min: 1 } } } })).toBe(false)
  expect(accepts({ scale: { params: { a: { type: 'integer', optional: false } } } })).toBe(false)
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`a${i}`, {}]))
  expect(accepts(many(64))).toBe(true)
  expect(accepts(many(65))).toBe(false)

  expect(explainNoActivations({ runtime: 'js', activations, capabilities: ['attest'] })).toBeUndefined()
  expect(explainNoActivations({ runtime: 'wasm' })).toBeUndefined()
  expect(explainNoActivations({ runtime: 'wasm', activations })).toContain('wasm')
  expect(explainNoActivations({ runtime: 'js', capabilities: ['attest'] })).toContain('attest')
})
