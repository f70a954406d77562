import { expect, test } from 'vitest'
import { limits } from '../protocol/limits.ts'
import { needsOf } from './open-programs.ts'

test('a deployment counts with what all its processes may use, and with what runs each of them', () => {
  const asked = { memoryMiB: 100, concurrency: 3 }
  expect(needsOf({ runtime: 'js' }, asked, 48)).toEqual({ memoryMiB: 148, cores: 1 })
  expect(needsOf({ runtime: 'native', native: 'http' }, asked, 0)).toEqual({ memoryMiB: 100, cores: 1 })
  expect(needsOf({ runtime: 'native' }, asked, 0)).toEqual({ memoryMiB: 300, cores: 3 })
  expect(needsOf({ runtime: 'native' }, asked, 96)).toEqual({ memoryMiB: 588, cores: 3 })
  expect(needsOf({ runtime: 'native', native: 'cgi' }, { ...asked, concurrency: 512 }, 0)).toEqual({
    memoryMiB: 100 * limits.cgiProcessesMax,
    cores: limits.cgiProcessesMax,
  })
})
