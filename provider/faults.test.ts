import { expect, test } from 'vitest'
import { parseFault } from './faults.ts'

test('faults are injected on development chains only', () => {
  expect(parseFault('wrong-id', 31_337)).toBe('wrong-id')
  for (const chainId of [1, 8453, 84_532]) {
    expect(() => parseFault('wrong-id', chainId)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
  }
})

test('an unknown fault is refused with the list of known ones', () => {
  expect(() => parseFault('explode', 31_337)).toThrow(
    expect.objectContaining({ code: 'config_invalid', hint: 'Faults: wrong-id.' }),
  )
})
