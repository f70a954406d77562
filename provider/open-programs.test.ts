import { expect, test } from 'vitest'
import { limits } from '../protocol/limits.ts'
import { processesMiB } from './open-programs.ts'

test('a deployment counts with what all its processes may hold', () => {
  const asked = { memoryMiB: 100, concurrency: 3 }
  expect(processesMiB({ runtime: 'js' }, asked)).toBe(100 + limits.runtimeMemoryMiB)
  expect(processesMiB({ runtime: 'native', native: 'http' }, asked)).toBe(100)
  expect(processesMiB({ runtime: 'native' }, asked)).toBe(300)
  expect(processesMiB({ runtime: 'native', native: 'cgi' }, { ...asked, concurrency: 512 })).toBe(
    100 * limits.cgiProcessesMax,
  )
})
