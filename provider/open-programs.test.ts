import { expect, test } from 'vitest'
import { limits } from '../protocol/limits.ts'
import { needsOf } from './open-programs.ts'

test('a deployment counts with what all its processes may use', () => {
  const asked = { memoryMiB: 100, concurrency: 3 }
  expect(needsOf({ runtime: 'js' }, asked)).toEqual({ memoryMiB: 100 + limits.runtimeMemoryMiB, cores: 1 })
  expect(needsOf({ runtime: 'native', native: 'http' }, asked)).toEqual({ memoryMiB: 100, cores: 1 })
  expect(needsOf({ runtime: 'native' }, asked)).toEqual({ memoryMiB: 300, cores: 3 })
  expect(needsOf({ runtime: 'native', native: 'cgi' }, { ...asked, concurrency: 512 })).toEqual({
    memoryMiB: 100 * limits.cgiProcessesMax,
    cores: limits.cgiProcessesMax,
  })
})
