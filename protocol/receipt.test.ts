import fc from 'fast-check'
import { getAddress, type Hex, hashStruct, keccak256 } from 'viem'
import { expect, test } from 'vitest'
import { type Outcome, outcomes } from './call.ts'
import { hashReceipt, type Receipt, receiptLeaf } from './receipt.ts'
import { typedDataTypes } from './typed-data.ts'
import { usdc } from './usdc.ts'

const bytes = (length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length })
    .map((array): Hex => `0x${Buffer.from(array).toString('hex')}`)

const anyReceipt: fc.Arbitrary<Receipt> = fc.record({
  callId: bytes(32),
  programId: bytes(32),
  deployment: bytes(32),
  payer: bytes(20).map((hex) => getAddress(hex)),
  provider: bytes(20).map((hex) => getAddress(hex)),
  requestDigest: bytes(32),
  responseDigest: bytes(32),
  status: fc.integer({ min: 0, max: 65_535 }),
  outcome: fc.constantFrom(...(Object.keys(outcomes) as Outcome[])),
  priceUsdc: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(usdc),
  startedAt: fc.maxSafeNat(),
  durationMs: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
})

test("a receipt's hash is that of EIP-712, as viem computes it", () => {
  fc.assert(
    fc.property(anyReceipt, (receipt) => {
      const { outcome, priceUsdc, startedAt, ...rest } = receipt
      const expected = hashStruct({
        types: { Receipt: typedDataTypes.Receipt },
        primaryType: 'Receipt',
        data: { ...rest, outcome: outcomes[outcome], price: priceUsdc, startedAt: BigInt(startedAt) },
      })
      expect(hashReceipt(receipt)).toBe(expected)
      expect(receiptLeaf(receipt)).toBe(keccak256(expected))
    }),
    { numRuns: 50 },
  )
})
