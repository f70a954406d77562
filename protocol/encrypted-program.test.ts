import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decryptProgram, encryptionOverheadBytes, encryptProgram } from './encrypted-program.ts'

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
const zips = fc.uint8Array({ maxLength: 2048 })
const program = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

test('what was encrypted opens with its key, and is nowhere in the ciphertext', () => {
  fc.assert(
    fc.property(zips, bytes32, (zip, key) => {
      const encrypted = encryptProgram(zip, { program, key })
      expect(encrypted.byteLength).toBe(zip.byteLength + encryptionOverheadBytes)
      expect(Buffer.from(decryptProgram(encrypted, { program, key }))).toEqual(Buffer.from(zip))
      if (zip.byteLength >= 16) expect(Buffer.from(encrypted).includes(Buffer.from(zip))).toBe(false)
    }),
  )
})

test('a changed byte, another key, another program and a part of it do not open', () => {
  fc.assert(
    fc.property(
      zips,
      bytes32,
      bytes32,
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (zip, key, otherKey, at, bits) => {
        const encrypted = encryptProgram(zip, { program, key })
        const changed = new Uint8Array(encrypted)
        const index = at % changed.byteLength
        changed[index] = (changed[index] as number) ^ bits
        const broken = expect.objectContaining({ code: 'seal_broken' })
        expect(() => decryptProgram(changed, { program, key })).toThrow(broken)
        expect(() => decryptProgram(encrypted, { program: `${program}a`, key })).toThrow(broken)
        expect(() => decryptProgram(encrypted.subarray(0, index), { program, key })).toThrow(broken)
        if (Buffer.compare(key, otherKey) !== 0)
          expect(() => decryptProgram(encrypted, { program, key: otherKey })).toThrow(broken)
      },
    ),
  )
})
