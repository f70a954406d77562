import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFairQueue } from './fair-queue.ts'

interface Item {
  readonly lane: string
  readonly n: number
  readonly kind: number
}

const laneNames = ['a', 'b', 'c', 'd']
const anything = () => true

/** Items of several lanes, in the order in which they come. */
const arrivals = fc
  .array(fc.record({ lane: fc.constantFrom(...laneNames), kind: fc.nat(2) }), { maxLength: 60 })
  .map((list) => list.map((item, n): Item => ({ ...item, n })))

function fill(items: readonly Item[], options = { sizeMax: 1_000, laneSizeMax: 1_000 }) {
  const queue = createFairQueue<Item>(options)
  const taken = items.filter((item) => queue.add(item.lane, item))
  return { queue, taken }
}

function drain(queue: ReturnType<typeof fill>['queue'], fits: (item: Item) => boolean = anything): Item[] {
  const served: Item[] = []
  for (let item = queue.take(fits); item; item = queue.take(fits)) served.push(item)
  return served
}

test('a lane that floods delays each other one by one item', () => {
  const flood = Array.from({ length: 5 }, (_, n) => ({ lane: 'a', n, kind: 0 }))
  const { queue } = fill([...flood, { lane: 'b', n: 5, kind: 0 }, { lane: 'c', n: 6, kind: 0 }])
  expect(drain(queue).map(({ lane }) => lane)).toEqual(['a', 'b', 'c', 'a', 'a', 'a', 'a'])
})

test('everything comes out once; within a lane in order, and no lane is served twice while another one waits', () => {
  fc.assert(
    fc.property(arrivals, (items) => {
      const { queue } = fill(items)
      const served = drain(queue)
      expect(queue.size).toBe(0)
      expect([...served].sort((x, y) => x.n - y.n)).toEqual(items)
      for (const lane of laneNames) {
        const own = served.filter((item) => item.lane === lane).map(({ n }) => n)
        expect(own).toEqual([...own].sort((x, y) => x - y))
      }
      for (const [i, { lane }] of served.entries()) {
        const again = served.findIndex((item, j) => j > i && item.lane === lane)
        if (again < 0) continue
        const between = new Set(served.slice(i + 1, again).map((item) => item.lane))
        const waiting = served.slice(again + 1).filter((item) => item.lane !== lane)
        for (const other of waiting) expect(between).toContain(other.lane)
      }
    }),
  )
})

test('what does not fit stays, in its place, and holds nobody up', () => {
  fc.assert(
    fc.property(arrivals, fc.nat(2), (items, kind) => {
      const { queue } = fill(items)
      const fitting = drain(queue, (item) => item.kind === kind)
      expect(fitting.length).toBe(items.filter((item) => item.kind === kind).length)
      expect(queue.size).toBe(items.length - fitting.length)
      expect(drain(queue).every((item) => item.kind !== kind)).toBe(true)
    }),
  )
})

test('neither the queue nor a lane takes more than its bound, and who has left is not served', () => {
  fc.assert(
    fc.property(
      arrivals,
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 6 }),
      (items, sizeMax, laneSizeMax) => {
        const { queue, taken } = fill(items, { sizeMax, laneSizeMax })
        expect(queue.size).toBe(taken.length)
        expect(queue.size).toBeLessThanOrEqual(sizeMax)
        for (const lane of laneNames)
          expect(taken.filter((item) => item.lane === lane).length).toBeLessThanOrEqual(laneSizeMax)
        const [leaving, ...rest] = taken
        if (leaving) queue.remove(leaving.lane, leaving)
        expect(new Set(drain(queue))).toEqual(new Set(rest))
      },
    ),
  )
})
