import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createPacer } from './pacer.ts'

test('whoever has had its share of a turn is held until the turn is over, and begins the next one anew', async () => {
  const seen: string[] = []
  const pacer = createPacer({
    bytesPerTurnMax: 100,
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

test('whoever sends little is never held', async () => {
  const seen: string[] = []
  const pacer = createPacer({
    bytesPerTurnMax: 100,
    hold: () => seen.push('hold'),
    letGo: () => seen.push('let go'),
  })
  for (let turns = 0; turns < 5; turns += 1) {
    pacer.take(99)
    await turn()
  }
  expect(seen).toEqual([])
})
