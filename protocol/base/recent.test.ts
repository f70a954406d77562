import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRecent } from './recent.ts'

test('whatever is set, the newest entries are there, and no others', () => {
  const sets = fc.array(fc.tuple(fc.nat(20), fc.nat()))
  fc.assert(
    fc.property(sets, fc.integer({ min: 1, max: 10 }), (entries, sizeMax) => {
      const recent = createRecent<number, number>(sizeMax)
      for (const [key, value] of entries) recent.set(key, value)
      const newestFirst = new Map(
        entries.toReversed().filter(([key], index, all) => all.findIndex(([k]) => k === key) === index),
      )
      const kept = [...newestFirst].slice(0, sizeMax)
      expect(recent.size).toBe(kept.length)
      for (const [key, value] of kept) expect(recent.get(key)).toBe(value)
    }),
  )
})

test('what is deleted is gone', () => {
  const recent = createRecent<string, number>(2)
  recent.set('a', 1)
  recent.delete('a')
  expect([recent.size, recent.has('a'), recent.get('a')]).toEqual([0, false, undefined])
})
