import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addUsdc, formatUsdc, parseUsdc, subtractUsdc, type Usdc, usdc, usdcFromJson } from './usdc.ts'

const amounts = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

test('what is formatted is parsed back to the same amount', () => {
  fc.assert(
    fc.property(amounts, (units) => {
      expect(parseUsdc(formatUsdc(usdc(units)))).toBe(units)
    }),
  )
})

test('people write amounts with a point, with or without the unit', () => {
  expect(parseUsdc('0.10')).toBe(100_000n)
  expect(parseUsdc('0.10 USDC')).toBe(100_000n)
  expect(parseUsdc('12')).toBe(12_000_000n)
  expect(formatUsdc(usdc(500n))).toBe('0.0005')
})

test('any text is an amount or a refusal, never a rounding or a crash', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{1,24}$/)), (text) => {
      try {
        expect(parseUsdc(text)).toBeTypeOf('bigint')
      } catch (error) {
        expect(error).toMatchObject({ code: 'usage_invalid' })
      }
    }),
  )
  for (const text of ['0.0000001', '1e3', '-1', '', '.', '1.', '18446744073709.551616']) {
    expect(() => parseUsdc(text), text).toThrow(expect.objectContaining({ code: 'usage_invalid' }))
  }
})

test('JSON carries base units as decimal strings and nothing else', () => {
  expect(usdcFromJson('100000')).toBe(100_000n)
  for (const value of [100, '0x10', '01', '-1', '1.5', '18446744073709551616', null]) {
    expect(usdcFromJson(value)).toBeUndefined()
  }
})

test('running out of money is an answer', () => {
  fc.assert(
    fc.property(amounts, amounts, (a, b) => {
      expect(subtractUsdc(usdc(a), usdc(b))).toBe(a < b ? undefined : a - b)
    }),
  )
})

test('a plain bigint is no amount', () => {
  // @ts-expect-error: an amount must come from usdc() or parseUsdc()
  const wrong: Usdc = 5n
  expect(addUsdc(usdc(1n), wrong)).toBe(6n)
})
