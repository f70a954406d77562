import { expect, test } from 'vitest'
import { createCallIds } from './call-ids.ts'

test('every id is 32 bytes in hex, and none comes twice', () => {
  const [createCallId, createOther] = [createCallIds(), createCallIds()]
  const ids = Array.from({ length: 500 }, () => [createCallId(), createOther()]).flat()
  for (const id of ids) expect(id).toMatch(/^0x[0-9a-f]{64}$/)
  expect(new Set(ids).size).toBe(ids.length)
})
