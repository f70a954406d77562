import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createStreamTable } from './stream-table.ts'

/** Ids as they come, and as a peer would choose them to have them all in one slot. */
const anyId = fc.oneof(
  fc.nat(40),
  fc.nat(40).map((id) => id * 64),
  fc.constantFrom(0, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff),
)

test('whatever comes and goes, it holds what a map would', () => {
  const changes = fc.array(fc.tuple(fc.boolean(), anyId), { maxLength: 200 })
  fc.assert(
    fc.property(changes, (steps) => {
      const table = createStreamTable<{ readonly id: number }>()
      const model = new Map<number, { readonly id: number }>()
      for (const [isAdded, id] of steps) {
        if (!isAdded) expect(table.delete(id)).toBe(model.delete(id))
        else if (!model.has(id)) {
          model.set(id, { id })
          table.add(model.get(id)!)
        }
        expect(table.size).toBe(model.size)
        for (const [, stepId] of steps) expect(table.get(stepId)).toBe(model.get(stepId))
        expect(new Set(table.values())).toEqual(new Set(model.values()))
      }
    }),
  )
})
