import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createCallIds } from './call-ids.ts'

test('every id is 32 bytes in hex, and none comes twice, in one millisecond or in two providers', () => {
  const clock = createTestClock()
  const [createCallId, createOther] = [createCallIds({ clock }), createCallIds({ clock })]
  const ids = Array.from({ length: 500 }, () => [createCallId(), createOther()]).flat()
  for (const id of ids) expect(id).toMatch(/^0x[0-9a-f]{64}$/)
  expect(new Set(ids).size).toBe(ids.length)
  expect(new Set(ids.map((id) => id.slice(14))).size).toBe(ids.length)
})

test('a later id is a higher one', async () => {
  const clock = createTestClock(255)
  const createCallId = createCallIds({ clock })
  const ids: string[] = []
  for (let index = 0; index < 300; index += 1) {
    ids.push(createCallId())
    await clock.advance(1)
  }
  expect(ids).toEqual(ids.toSorted())
})
