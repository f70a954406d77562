import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createBag, inNoBag } from './bag.ts'

test('whatever comes and goes, it holds what a set would', () => {
  const changes = fc.array(fc.tuple(fc.boolean(), fc.nat(15)))
  fc.assert(
    fc.property(changes, (steps) => {
      const all = Array.from({ length: 16 }, (_, id) => ({ id, bagIndex: inNoBag }))
      const bag = createBag<(typeof all)[number]>()
      const model = new Set<number>()
      for (const [isAdded, id] of steps) {
        const item = all[id]!
        if (isAdded && !model.has(id)) {
          bag.add(item)
          model.add(id)
        } else if (!isAdded) expect(bag.delete(item)).toBe(model.delete(id))
        expect(bag.size).toBe(model.size)
        for (const one of all) expect(bag.has(one)).toBe(model.has(one.id))
        expect(new Set(bag.items().map((one) => one.id))).toEqual(model)
      }
    }),
  )
})

test('a loop over it may delete what it comes to', () => {
  const bag = createBag<{ bagIndex: number }>()
  for (let count = 0; count < 10; count += 1) bag.add({ bagIndex: inNoBag })
  let seen = 0
  for (const item of bag.items()) {
    seen += 1
    bag.delete(item)
  }
  expect([seen, bag.size]).toEqual([10, 0])
})
