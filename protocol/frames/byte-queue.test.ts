import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createByteQueue } from './byte-queue.ts'

test('gives every byte back in order, whatever was pushed and taken in between', () => {
  const step = fc.oneof(fc.record({ push: fc.oneof(fc.nat(20), fc.nat(40_000)) }), fc.constant({ push: -1 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = createByteQueue()
      const pushed: Buffer[] = []
      const taken: Buffer[] = []
      for (const [index, { push }] of steps.entries()) {
        if (push < 0) taken.push(queue.shift() ?? Buffer.alloc(0))
        else {
          pushed.push(Buffer.alloc(push, index + 1))
          queue.push(pushed.at(-1) as Buffer)
        }
        const bytes = (parts: Buffer[]) => parts.reduce((sum, part) => sum + part.length, 0)
        expect(queue.bytes).toBe(bytes(pushed) - bytes(taken))
      }
      for (let part = queue.shift(); part; part = queue.shift()) taken.push(part)
      expect(Buffer.concat(taken).equals(Buffer.concat(pushed))).toBe(true)
      expect(queue.bytes).toBe(0)
    }),
  )
})

test('single bytes of large messages are held as bytes, not as messages', () => {
  const queue = createByteQueue()
  for (let index = 0; index < 2_000; index++) queue.push(Buffer.alloc(20_000).subarray(7, 8))
  let blocks = 0
  for (let part = queue.shift(); part; part = queue.shift()) {
    blocks++
    expect(part.buffer.byteLength).toBeLessThanOrEqual(16 * 1024)
  }
  expect(blocks).toBe(1)
})
