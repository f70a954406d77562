import fc from 'fast-check'
import { getAddress, type Hex, parseCompactSignature } from 'viem'
import { expect, test } from 'vitest'
import {
  decodeCreditsRows,
  decodeRedeemRows,
  decodeSettleRows,
  encodeCreditsRows,
  encodeRedeemRows,
  encodeSettleRows,
} from './settlement.ts'
import { usdc } from './usdc.ts'

const bytes = (length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((array): Hex => `0x${Buffer.from(array).toString('hex')}`)
const address = bytes(20).map((hex) => getAddress(hex))
const amount = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(usdc)
const uint32 = fc.nat({ max: 2 ** 32 - 1 })
const list = <T>(row: fc.Arbitrary<T>) => fc.array(row, { minLength: 1, maxLength: 5 })

test('rows are read as they were written', () => {
  fc.assert(
    fc.property(list(fc.record({ payer: address, amountUsdc: amount, calls: uint32 })), (rows) => {
      expect(decodeSettleRows(encodeSettleRows(rows))).toEqual(rows)
    }),
  )
  fc.assert(
    fc.property(list(fc.record({ user: address, calls: fc.maxSafeNat() })), (rows) => {
      expect(decodeCreditsRows(encodeCreditsRows(rows))).toEqual(rows)
    }),
  )
  const voucher = fc.record({
    payer: address,
    maxAmount: amount,
    maxCalls: uint32,
    epoch: fc.nat({ max: 255 }),
  })
  const row = fc.record({ voucher, amountUsdc: amount, calls: uint32, signature: bytes(64) })
  fc.assert(
    fc.property(list(row), (rows) => {
      const decoded = decodeRedeemRows(encodeRedeemRows(rows)) ?? []
      expect(decoded.map(({ signature: _, ...rest }) => rest)).toEqual(
        rows.map(({ signature: _, ...rest }) => rest),
      )
      // Of 65 bytes now, and the same signature.
      for (const [index, { signature }] of decoded.entries()) {
        const { r, yParityAndS } = parseCompactSignature(rows[index]!.signature)
        const s = BigInt(yParityAndS) & (2n ** 255n - 1n)
        expect([signature.slice(0, 66), BigInt(`0x${signature.slice(66, 130)}`)]).toEqual([r, s])
      }
      expect(encodeRedeemRows(decoded)).toBe(encodeRedeemRows(rows))
    }),
  )
})

test('bytes that are no rows are none', () => {
  for (const decode of [decodeSettleRows, decodeCreditsRows, decodeRedeemRows]) {
    expect(decode('0x')).toBeUndefined()
    expect(decode(`0x${'00'.repeat(31)}`)).toBeUndefined()
    fc.assert(
      fc.property(
        fc.nat(4).chain((rows) => bytes(rows * 32)),
        (rows) => void decode(rows),
      ),
    )
  }
  expect(decodeCreditsRows(`0x${'ff'.repeat(32)}`)).toEqual([])
})
