import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { domainSeparator, type Hex, hashTypedData } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { claimOf, createTestSigner, market, providerAccount, receiptOf } from '../test/support/money.ts'
import { toHex } from './base/bytes.ts'
import { createMerkleTree } from './merkle.ts'
import { isSignedByKey, parseSignedReceipt } from './read-receipt.ts'
import { receiptLeaf } from './receipt.ts'
import { isDelegated } from './receipt-key.ts'
import { formatSignedReceipt, receiptGroupMessage, type SignedReceipt } from './signed-receipt.ts'
import { marketDomain, marketSeparator, typedDataTypes } from './typed-data.ts'
import { type Evidence, verifyReceipt } from './verify-receipt.ts'

const signer = await createTestSigner()

/** Receipts of calls that ended together, each with its path. */
function signGroup(size: number): SignedReceipt[] {
  const receipts = Array.from({ length: size }, (_, index) => receiptOf(claimOf(), { durationMs: index }))
  const tree = createMerkleTree(receipts.map(receiptLeaf))
  return receipts.map((receipt, index) => ({
    market,
    receipt,
    path: tree.proof(index),
    ...signer.sign(tree.root),
  }))
}

test("the market's separator and what a key signs are those of EIP-712", () => {
  const domain = marketDomain(market)
  expect(toHex(marketSeparator(market))).toBe(domainSeparator({ domain }))
  const root: Hex = `0x${'5a'.repeat(32)}`
  const types = { ReceiptGroup: typedDataTypes.ReceiptGroup }
  const digest = hashTypedData({ domain, types, primaryType: 'ReceiptGroup', message: { root } })
  const message = receiptGroupMessage(root, marketSeparator(market))
  expect(toHex(createHash('keccak-256').update(message).digest())).toBe(digest)
})

test('every receipt of a group of any size goes through its header and is signed; another path is not', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), (size) => {
      const group = signGroup(size)
      for (const signed of group) {
        expect(parseSignedReceipt(formatSignedReceipt(signed))).toEqual(signed)
        expect(isSignedByKey(signed)).toBe(true)
      }
      const [first, second] = group
      if (first && second)
        expect(isSignedByKey({ ...first, path: [...first.path, ...second.path] })).toBe(false)
    }),
    { numRuns: 12 },
  )
})

test('whatever byte of it is another: the key did not sign it, or its account did not vouch for the key', async () => {
  const [signed] = signGroup(5)
  const word = formatSignedReceipt(signed as SignedReceipt)
  const bytes = Buffer.from(word.slice(5), 'base64url')
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const altered = Buffer.from(bytes)
      altered[at] = (altered[at] as number) ^ change
      const read = parseSignedReceipt(`krc1.${altered.toString('base64url')}`)
      expect(read && isSignedByKey(read) && (await isDelegated(read.key, read.market))).not.toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('neither of its signatures has a second form', async () => {
  const [signed] = signGroup(1) as [SignedReceipt]
  const { key, signature } = signed
  const p256 = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const secp256k1 = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
  const otherS = (hex: Hex, order: bigint) => {
    const s = (order - BigInt(`0x${hex.slice(66, 130)}`)).toString(16).padStart(64, '0')
    return `0x${hex.slice(2, 66)}${s}` as const
  }
  expect(isSignedByKey(signed)).toBe(true)
  expect(isSignedByKey({ ...signed, signature: otherS(signature, p256) })).toBe(false)
  const { delegation } = key
  const v = Number(`0x${delegation.slice(130)}`)
  const withV = (hex: string, byte: number) =>
    `${hex.slice(0, 130)}${byte.toString(16).padStart(2, '0')}` as Hex
  const forms = [withV(delegation, v - 27), withV(otherS(delegation, secp256k1), v ^ 7)]
  expect(await isDelegated(key, market)).toBe(true)
  for (const form of forms) expect(await isDelegated({ ...key, delegation: form }, market)).toBe(false)
})

test('what is no receipt is none, whatever its length', () => {
  const [signed] = signGroup(1)
  const word = formatSignedReceipt(signed as SignedReceipt)
  for (const text of ['', 'krc1.', 'krc1.AA', `${word}A`, word.slice(0, -1), word.replace('krc1', 'krc2')])
    expect(parseSignedReceipt(text)).toBeUndefined()
  expect(parseSignedReceipt(`krc1.${'A'.repeat(1_000_000)}`)).toBeUndefined()
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(parseSignedReceipt(text)).toBeUndefined()
    }),
  )
})

test('only the account of the provider vouches for its key, and only in its market', async () => {
  const [signed] = signGroup(1)
  const { key } = signed as SignedReceipt
  expect(await isDelegated(key, market)).toBe(true)
  expect(await isDelegated(key, { ...market, chainId: 1 })).toBe(false)
  expect(await isDelegated({ ...key, validBefore: key.validBefore - 1 }, market)).toBe(false)
  const stranger = privateKeyToAccount(generatePrivateKey())
  expect(await isDelegated({ ...key, provider: stranger.address }, market)).toBe(false)
  expect(key.provider).toBe(providerAccount.address)
})

test('a receipt of another provider, chain or escrow, and one whose path is cut, is told as that', async () => {
  const [, signed] = signGroup(5) as [SignedReceipt, SignedReceipt]
  const { provider } = signed.receipt
  const wrongOf = async (of: SignedReceipt, evidence: Evidence) =>
    (await verifyReceipt(of, evidence)).filter(({ verdict }) => verdict === 'wrong').map(({ name }) => name)
  const stranger = privateKeyToAccount(generatePrivateKey()).address
  expect(await wrongOf(signed, { provider, market })).toEqual([])
  expect(await wrongOf(signed, { provider: stranger, market })).toEqual(['provider'])
  expect(await wrongOf(signed, { provider, market: { ...market, chainId: 1 } })).toEqual(['market'])
  expect(await wrongOf(signed, { provider, market: { ...market, escrow: stranger } })).toEqual(['market'])
  expect(await wrongOf({ ...signed, path: signed.path.slice(1) }, { provider, market })).toEqual([
    'signature',
  ])
  // Who writes another market into it has nobody's signature for that.
  const moved = { ...signed, market: { ...market, chainId: 1 } }
  expect(await wrongOf(moved, { provider, market: moved.market })).toEqual(['signature', 'key'])
})
