import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createBodyHash } from './body-hash.ts'

test('the digest is that of the whole body, in however many pieces it came', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 6 }), (chunks) => {
      const bodyHash = createBodyHash()
      for (const chunk of chunks) bodyHash.update(Buffer.from(chunk))
      const whole = createHash('sha256').update(Buffer.concat(chunks)).digest()
      expect(bodyHash.digest()).toEqual(whole)
      expect(bodyHash.digest()).toEqual(whole)
    }),
  )
})
