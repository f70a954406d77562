import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { expect, test } from 'vitest'
import { maskDescriptors, readInheritableDescriptors } from './descriptors.ts'

test('what was inherited becomes the null device, beyond what the child is meant to get', () => {
  expect(maskDescriptors(['pipe', 'pipe', 'pipe'], { inherited: [1, 3, 6], nullFd: 9 })).toEqual([
    'pipe',
    'pipe',
    'pipe',
    9,
    'ignore',
    'ignore',
    9,
  ])
})

test.skipIf(process.platform !== 'linux')(
  'this process finds what it was handed, and not its own',
  async () => {
    // Node itself marks the low ones when it starts, and stops at the first gap above 15.
    const handed = 40
    const fd = openSync('/dev/null', 'r')
    const script = `
    import { openSync } from 'node:fs'
    import { readInheritableDescriptors } from '${import.meta.resolve('./descriptors.ts')}'
    openSync('/dev/null', 'r')
    console.log(JSON.stringify(readInheritableDescriptors()))
  `
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: maskDescriptors(['ignore', 'pipe', 'inherit'] as const, { inherited: [handed], nullFd: fd }),
    })
    closeSync(fd)
    const found = (await child.stdout!.setEncoding('utf8').toArray()).join('')
    expect(JSON.parse(found)).toContain(handed)
    expect(JSON.parse(found)).not.toContain(3)
  },
)

test.skipIf(process.platform !== 'linux')('a masked child reads nothing of what it inherited', async () => {
  const fd = openSync('/proc/self/status', 'r')
  const nullFd = openSync('/dev/null', 'r')
  const read = `process.stdout.write(String(require('fs').readSync(${fd}, Buffer.alloc(4))))`
  const stdio = maskDescriptors(['ignore', 'pipe', 'inherit'] as const, { inherited: [fd], nullFd })
  const child = spawn(process.execPath, ['-e', read], { stdio })
  closeSync(fd)
  closeSync(nullFd)
  expect((await child.stdout!.setEncoding('utf8').toArray()).join('')).toBe('0')
})

test('every descriptor found is a number above the standard three', () => {
  for (const fd of readInheritableDescriptors()) expect(fd).toBeGreaterThan(2)
})
