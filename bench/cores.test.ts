import { expect, test } from 'vitest'
import { parseCoreList } from './cores.ts'

test.each([
  ['0', [0]],
  ['0-1', [0, 1]],
  ['0-3,8', [0, 1, 2, 3, 8]],
  ['', []],
])('cores in "%s"', (list, cores) => {
  expect(parseCoreList(list)).toEqual(cores)
})
