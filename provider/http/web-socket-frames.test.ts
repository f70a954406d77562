import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFrameFollower, encodeGoodbye } from './web-socket-frames.ts'

/** A frame as a server sends it, or as one that masks although it should not. */
function encode({ opcode, size, isMasked }: { opcode: number; size: number; isMasked: boolean }): Buffer {
  const mask = isMasked ? 0x80 : 0
  const head =
    size < 126
      ? Buffer.of(0x80 | opcode, mask | size)
      : size < 65_536
        ? Buffer.of(0x80 | opcode, mask | 126, size >> 8, size & 255)
        : Buffer.concat([
            Buffer.of(0x80 | opcode, mask | 127),
            Buffer.alloc(4),
            Buffer.of(0, size >> 16, (size >> 8) & 255, size & 255),
          ])
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0, 9), Buffer.alloc(size, 0x88)])
}

const frame = fc.record({
  opcode: fc.constantFrom(0, 1, 2, 9, 10),
  size: fc.constantFrom(0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000),
  isMasked: fc.boolean(),
})

test('however frames are cut, a goodbye fits between them and nowhere else', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 1, maxLength: 8 }),
      (frames, cuts) => {
        const encoded = frames.map(encode)
        const ends = new Set([0])
        for (const bytes of encoded) ends.add(Math.max(...ends) + bytes.length)
        const all = Buffer.concat(encoded)
        const follower = createFrameFollower()
        let at = 0
        for (let cut = 0; at < all.length; cut++) {
          const next = Math.min(all.length, at + cuts[cut % cuts.length]!)
          follower.push(all.subarray(at, next))
          at = next
          expect([at, follower.isBetween]).toEqual([at, ends.has(at)])
        }
        follower.push(encodeGoodbye(1000))
        expect(follower.isBetween).toBe(false)
      },
    ),
    { numRuns: 200 },
  )
})
