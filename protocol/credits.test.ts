import fc from 'fast-check'
import { getAddress, toHex } from 'viem'
import { expect, test } from 'vitest'
import { decideCredits, toCreditCalls } from './credits.ts'
import { encodeCreditsRows } from './settlement.ts'

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)))
const calls = fc.integer({ min: 0, max: 2 ** 32 - 1 })

test('exactly as many calls are covered as were granted', () => {
  fc.assert(
    fc.property(address, address, fc.nat(50), (provider, user, granted) => {
      const credits = { provider, user, granted, used: 0 }
      let used = 0
      while (decideCredits(credits, used).kind === 'covers') used += 1
      expect(used).toBe(granted)
      expect(decideCredits(credits, used + 1)).toEqual({ kind: 'exhausted', granted })
    }),
  )
  expect(decideCredits(undefined, 0)).toEqual({ kind: 'exhausted', granted: 0 })
})

test('counts of 64 bits stay in order, and none is more than a lane can hold', () => {
  const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
  fc.assert(
    fc.property(uint64, uint64, (a, b) => {
      const [less, more] = a < b ? [a, b] : [b, a]
      expect(toCreditCalls(less)).toBeLessThanOrEqual(toCreditCalls(more))
      expect(toCreditCalls(more)).toBeLessThan(2 ** 32)
      if (more < 2n ** 32n) expect(toCreditCalls(more)).toBe(Number(more))
    }),
  )
})

test('a row is the user in its first 20 bytes, and the calls in the other 12', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ user: address, calls }), { maxLength: 20 }), (rows) => {
      const hex = encodeCreditsRows(rows)
      const read = Array.from({ length: (hex.length - 2) / 64 }, (_, index) => {
        const row = hex.slice(2 + index * 64, 66 + index * 64)
        return { user: getAddress(`0x${row.slice(0, 40)}`), calls: Number(BigInt(`0x${row.slice(40)}`)) }
      })
      expect(read).toEqual(rows)
    }),
  )
})
