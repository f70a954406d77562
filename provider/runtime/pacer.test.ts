import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createPacer } from './pacer.ts'

test('whoever has had its share of a turn is held until the turn is over, and begins the next one anew', async () => {
  const seen: string[] = []
  const pacer = createPacer({
    shareBytes: 100,
    rest: () => undefined,
    hold: () => seen.push('hold'),
    letGo: () => seen.push('let go'),
  })
  for (let turns = 0; turns < 2; turns += 1) {
    pacer.take(60)
    expect(pacer.isHolding).toBe(false)
    pacer.take(60)
    // What was on its way already.
    pacer.take(60)
    expect(pacer.isHolding).toBe(true)
    await turn()
    expect(pacer.isHolding).toBe(false)
  }
  expect(seen).toEqual(['hold', 'let go', 'hold', 'let go'])
})

test('where others wait, it rests after each share, over as many turns as that came in, and none of it counts twice', async () => {
  const seen: string[] = []
  const rests: PromiseWithResolvers<void>[] = []
  let isAlone = false
  const pacer = createPacer({
    shareBytes: 100,
    rest() {
      if (isAlone) return undefined
      rests.push(Promise.withResolvers<void>())
      return rests.at(-1)!.promise
    },
    hold: () => seen.push('hold'),
    letGo: () => seen.push('let go'),
  })
  for (let count = 1; count <= 3; count += 1) {
    for (let shares = 0; shares < 3; shares += 1) {
      pacer.take(40)
      await turn()
    }
    // A turn later it still rests, and what was on its way begins no second rest.
    pacer.take(100)
    await turn()
    expect([pacer.isHolding, rests.length, seen.length]).toEqual([true, count, 2 * count - 1])
    // A clock that is stopped ends the rest, too.
    if (count < 3) rests.at(-1)!.resolve()
    else rests.at(-1)!.reject(new Error('over'))
    await turn()
    expect([pacer.isHolding, seen.at(-1)]).toEqual([false, 'let go'])
  }
  isAlone = true
  for (let turns = 0; turns < 5; turns += 1) {
    pacer.take(99)
    await turn()
  }
  expect(seen.length).toBe(6)
})

test('whoever sends little is never held', async () => {
  const seen: string[] = []
  const pacer = createPacer({
    shareBytes: 100,
    rest: () => undefined,
    hold: () => seen.push('hold'),
    letGo: () => seen.push('let go'),
  })
  for (let turns = 0; turns < 5; turns += 1) {
    pacer.take(99)
    await turn()
  }
  expect(seen).toEqual([])
})
