import fc from 'fast-check'
import { expect, test } from 'vitest'
import { callInputToJson, hashInput, parseCallInput } from './call-record.ts'
import { limits } from './limits.ts'

const inputs = fc.record({
  method: fc.constantFrom('GET', 'POST', 'HEAD', 'PROPFIND'),
  target: fc.string().map((text) => `/${text}`),
  body: fc.uint8Array({ maxLength: 300 }),
})

test('what a call was asked with goes through JSON, whatever its bytes', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const read = parseCallInput(JSON.parse(JSON.stringify(callInputToJson(input))))
      expect(read).toEqual(input)
      expect(read && hashInput(read)).toBe(hashInput(input))
    }),
  )
})

test('another method, target or body has another digest', () => {
  fc.assert(
    fc.property(inputs, inputs, (one, other) => {
      const isSame = JSON.stringify(callInputToJson(one)) === JSON.stringify(callInputToJson(other))
      expect(hashInput(one) === hashInput(other)).toBe(isSame)
    }),
  )
})

test('what is too large, or no record, is none', () => {
  const good = { method: 'GET', target: '/', body: '' }
  expect(parseCallInput(good)).toBeDefined()
  const tooLarge = Buffer.alloc(limits.callRecordBodyBytesMax + 1).toString('base64url')
  const largest = Buffer.alloc(limits.callRecordBodyBytesMax).toString('base64url')
  expect(parseCallInput({ ...good, body: largest })).toBeDefined()
  for (const changed of [
    { body: tooLarge },
    { body: 'a' },
    { body: '====' },
    { target: 'x' },
    { method: 'GET /' },
    { method: '' },
    { more: 1 },
  ])
    expect(parseCallInput({ ...good, ...changed })).toBeUndefined()
  for (const other of [undefined, null, 1, 'x', [], {}]) expect(parseCallInput(other)).toBeUndefined()
})
