import fc from 'fast-check'
import type { Hex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { addressOf, market, provider } from '../test/support/money.ts'
import { base64url } from './base/bytes.ts'
import { isProtocolError } from './errors.ts'
import { usdc } from './usdc.ts'
import {
  assertVoucherSigned,
  correctionDetails,
  coversCall,
  formatVoucher,
  parseCorrection,
  parseVoucher,
  type SignedVoucher,
  signVoucher,
  type Voucher,
} from './voucher.ts'
import {
  assertVoucherAccess,
  formatVoucherToken,
  parseVoucherToken,
  signVoucherAccess,
  type VoucherToken,
} from './voucher-token.ts'

const payer = privateKeyToAccount(`0x${'01'.repeat(32)}`)
const session = privateKeyToAccount(`0x${'02'.repeat(32)}`)

const voucherOf = (changes: Partial<Voucher> = {}): Voucher => ({
  payer: payer.address,
  provider,
  maxAmount: usdc(5_000n),
  maxCalls: 10,
  epoch: 0,
  ...changes,
})

async function signed(
  changes: Partial<Voucher> = {},
  signer = payer,
  where = market,
): Promise<SignedVoucher> {
  const voucher = voucherOf(changes)
  return { voucher, signer: signer.address, signature: await signVoucher(voucher, signer, where) }
}

const anyVoucher = fc.record({
  maxAmount: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(usdc),
  maxCalls: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  epoch: fc.integer({ min: 0, max: 255 }),
})

test('what is written is read again, by the payer or by a session key, and its signature holds', async () => {
  await fc.assert(
    fc.asyncProperty(anyVoucher, fc.boolean(), async (changes, bySession) => {
      const one = await signed(changes, bySession ? session : payer)
      const token = formatVoucher(one)
      expect(parseVoucher(token)).toEqual(one)
      await assertVoucherSigned(parseVoucher(token), market)
    }),
    { numRuns: 20 },
  )
})

test('any text is a voucher, with or without its access, or a refusal', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `kv1.${base64url.encode(Buffer.from(text))}.AA`),
        fc.string().map((text) => `kv1.${base64url.encode(Buffer.from(text))}.AA.AA`),
      ),
      (text) => {
        for (const parse of [parseVoucher, parseVoucherToken]) {
          try {
            parse(text)
          } catch (error) {
            expect(isProtocolError(error) && error.code).toBe('voucher_invalid')
          }
        }
      },
    ),
  )
})

test.each<[string, (one: SignedVoucher) => SignedVoucher]>([
  ['a higher amount', (one) => ({ ...one, voucher: { ...one.voucher, maxAmount: usdc(5_001n) } })],
  ['more calls', (one) => ({ ...one, voucher: { ...one.voucher, maxCalls: 11 } })],
  ['another epoch', (one) => ({ ...one, voucher: { ...one.voucher, epoch: 1 } })],
  ['another provider', (one) => ({ ...one, voucher: { ...one.voucher, provider: addressOf(7) } })],
  ['another payer', (one) => ({ ...one, voucher: { ...one.voucher, payer: addressOf(8) } })],
  ['another signer', (one) => ({ ...one, signer: session.address })],
  ['one bit of the signature', (one) => ({ ...one, signature: flipBit(one.signature, 9) })],
])('%s under an old signature is refused', async (_what, alter) => {
  const altered = parseVoucher(formatVoucher(alter(await signed())))
  await expect(assertVoucherSigned(altered, market)).rejects.toMatchObject({ code: 'voucher_invalid' })
})

test('a token is read as it was written, and its access holds for every voucher of its epoch', async () => {
  await fc.assert(
    fc.asyncProperty(anyVoucher, anyVoucher, fc.boolean(), async (changes, later, bySession) => {
      const key = bySession ? session : payer
      const one = await signed(changes, key)
      const token: VoucherToken = { signed: one, access: await signVoucherAccess(one.voucher, key, market) }
      expect(parseVoucherToken(formatVoucherToken(token))).toEqual(token)
      await assertVoucherAccess(token, market)
      const next = await signed({ ...later, epoch: changes.epoch }, key)
      await assertVoucherAccess({ ...token, signed: next }, market)
      const other = await signed({ ...later, epoch: (changes.epoch + 1) % 256 }, key)
      const refusal = assertVoucherAccess({ ...token, signed: other }, market)
      await expect(refusal).rejects.toMatchObject({ code: 'voucher_invalid' })
    }),
    { numRuns: 20 },
  )
})

test('a voucher for another chain or escrow is refused', async () => {
  for (const where of [
    { ...market, chainId: 1 },
    { ...market, escrow: addressOf(9) },
  ]) {
    const foreign = parseVoucher(formatVoucher(await signed({}, payer, where)))
    await expect(assertVoucherSigned(foreign, market)).rejects.toMatchObject({ code: 'voucher_invalid' })
  }
})

test('the other forms of a good signature, which the escrow would not pay for, are refused unseen', async () => {
  const one = await signed()
  const forms = [
    malleate(one.signature),
    `${one.signature.slice(0, -2)}00`,
    one.signature.slice(0, -2),
  ] as Hex[]
  for (const signature of forms) {
    expect(() => parseVoucher(formatVoucher({ ...one, signature }))).toThrow(/low s/)
  }
})

test('fields that are missing, too many or out of range are refused', async () => {
  const [, payload = '', signature] = formatVoucher(await signed()).split('.')
  const fields = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const bad = [
    { ...fields, extra: 1 },
    { ...fields, maxAmount: undefined },
    { ...fields, maxAmount: 5000 },
    { ...fields, maxAmount: (2n ** 64n).toString() },
    { ...fields, maxCalls: 2 ** 32 },
    { ...fields, maxCalls: 1.5 },
    { ...fields, epoch: 256 },
    { ...fields, payer: 'me' },
  ]
  for (const each of bad) {
    const token = ['kv1', base64url.encode(Buffer.from(JSON.stringify(each))), signature].join('.')
    expect(() => parseVoucher(token)).toThrow(/fields of a voucher/)
  }
  expect(() => parseVoucher('k'.repeat(2_000))).toThrow(/bytes/)
})

test('a voucher covers a call if both its money and its calls do', () => {
  const use = { owedUsdc: usdc(4_500n), calls: 9, priceUsdc: usdc(500n) }
  expect(coversCall({ voucher: voucherOf(), ...use })).toBe(true)
  expect(coversCall({ voucher: voucherOf(), ...use, owedUsdc: usdc(4_501n) })).toBe(false)
  expect(coversCall({ voucher: voucherOf(), ...use, calls: 10 })).toBe(false)
})

test('a correction survives its problem document, and one that makes no sense is none', async () => {
  const accepted = await signed()
  const correction = {
    epoch: 0,
    accepted,
    chargedUsdc: usdc(1_000n),
    chargedCalls: 2,
    owedUsdc: usdc(1_500n),
    owedCalls: 3,
  }
  const details = correctionDetails(correction)
  expect(parseCorrection(JSON.parse(JSON.stringify({ ...details, code: 'voucher_too_low' })))).toEqual(
    correction,
  )
  expect(parseCorrection({ ...details, accepted: null })).toEqual({ ...correction, accepted: undefined })
  for (const change of [{ accepted: 'kv1.x.y' }, { charged: 5 }, { epoch: -1 }, { owedCalls: '3' }])
    expect(parseCorrection({ ...details, ...change })).toBeUndefined()
})

function flipBit(signature: Hex, byte: number): Hex {
  const bytes = Buffer.from(signature.slice(2), 'hex')
  bytes[byte]! ^= 1
  return `0x${bytes.toString('hex')}`
}

/** The other signature that the same key would have made: `n - s` with the other parity. */
function malleate(signature: Hex): Hex {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
  const s = order - BigInt(`0x${signature.slice(66, 130)}`)
  const v = signature.endsWith('1b') ? '1c' : '1b'
  return `0x${signature.slice(2, 66)}${s.toString(16).padStart(64, '0')}${v}`
}
