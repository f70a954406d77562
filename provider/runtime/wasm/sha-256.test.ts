import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from './guest/sha-256.ts'

test('the guest hashes as everybody does', () => {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex')
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => {
      expect(Buffer.from(sha256(text)).toString('hex')).toBe(hash(text))
    }),
  )
  // Every length around the end of a block.
  for (let length = 0; length < 140; length += 1) {
    const text = 'x'.repeat(length)
    expect(Buffer.from(sha256(text)).toString('hex')).toBe(hash(text))
  }
})
