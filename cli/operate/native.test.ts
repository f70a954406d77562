import { expect, test } from 'vitest'
import { parseNative } from './native.ts'

test('native programs run where they were asked for, in the walls that were named', () => {
  expect(parseNative({})).toBeUndefined()
  expect(parseNative({ native: true })).toEqual({ root: 'none', walls: 'bubblewrap' })
  expect(parseNative({ native: true, 'native-walls': 'runsc', 'native-root': 'usr' })).toEqual({
    root: 'usr',
    walls: 'runsc',
  })
})

test.each([
  { 'native-walls': 'runsc' },
  { 'native-root': 'usr' },
  { native: true, 'native-walls': 'docker' },
  { native: true, 'native-root': 'all' },
])('%j is refused, with what may be said', (values) => {
  expect(() => parseNative(values)).toThrow(expect.objectContaining({ code: 'usage_invalid' }))
})
