import { afterAll, beforeAll, expect, test } from 'vitest'
import { base64url } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { noMoney, openWaysToPay, type WaysToPay } from '../support/ways-to-pay.ts'

/**
 * Credentials that somebody made different after they were signed: another form of the same signature, amounts that are
 * nothing, less than nothing, or more than there can be. Each has its own code, and nothing moves.
 */

let at: TestMarket
let ways: WaysToPay
let cid: string
beforeAll(async () => {
  at = await openMarket()
  ways = await openWaysToPay(at, { name: 'alice', account: at.dev.accounts.alice.account })
  cid = (await at.deploy(echoProgram, '--payer', 'caller')).cid
})
afterAll(() => at[Symbol.asyncDispose]())

/** The other signature by the same key over the same: `s` in the upper half of the curve's order. */
function malleate(signature: Uint8Array): Uint8Array {
  const bytes = Buffer.from(signature)
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
  const s = order - BigInt(`0x${bytes.subarray(32, 64).toString('hex')}`)
  bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex')
  bytes[64] = bytes[64] === 27 ? 28 : 27
  return bytes
}

const decode = (text = '') => base64url.decode(text) as Uint8Array

/** Changes fields of the payload between a token's first two dots. */
const withFields = (changes: object) => (token: string) => {
  const [kind, payload, ...rest] = token.split('.')
  const fields = { ...JSON.parse(Buffer.from(decode(payload)).toString()), ...changes }
  return [kind, base64url.encode(Buffer.from(JSON.stringify(fields))), ...rest].join('.')
}

/** Changes the signature behind a token's second dot. */
const withSignature = (change: (signature: Uint8Array) => Uint8Array) => (token: string) => {
  const [kind, payload, signature, ...rest] = token.split('.')
  return [kind, payload, base64url.encode(change(decode(signature))), ...rest].join('.')
}

interface PaymentPayload {
  readonly payload: { signature: string; authorization: Record<string, string> }
}

const withPayment = (change: (payment: PaymentPayload) => void) => (header: string) => {
  const payment = JSON.parse(Buffer.from(header, 'base64').toString())
  change(payment)
  return Buffer.from(JSON.stringify(payment)).toString('base64')
}

const withValue = (value: string) =>
  withPayment(({ payload }) => {
    payload.authorization['value'] = value
  })

const tooMuch = (2n ** 64n).toString()

test.each<[string, 'pass' | 'voucher' | 'x402', (credential: string) => string, number, string]>([
  ['the other form of its signature', 'pass', withSignature(malleate), 401, 'pass_invalid'],
  ['half a signature', 'pass', withSignature((bytes) => bytes.subarray(0, 64)), 401, 'pass_invalid'],
  ['more than there can be', 'pass', withFields({ maxSpend: tooMuch }), 401, 'pass_invalid'],
  ['less than nothing', 'pass', withFields({ maxSpend: '-1' }), 401, 'pass_invalid'],
  ['an amount in other words', 'pass', withFields({ maxSpend: '0x10' }), 401, 'pass_invalid'],
  ['an end beyond all time', 'pass', withFields({ validBefore: 2 ** 60 }), 401, 'pass_invalid'],
  ['one field more', 'pass', withFields({ more: '1' }), 401, 'pass_invalid'],
  ['the other form of its signature', 'voucher', withSignature(malleate), 401, 'voucher_invalid'],
  ['more than there can be', 'voucher', withFields({ maxAmount: tooMuch }), 401, 'voucher_invalid'],
  ['less than nothing', 'voucher', withFields({ maxAmount: '-1' }), 401, 'voucher_invalid'],
  ['more calls than a row can hold', 'voucher', withFields({ maxCalls: 2 ** 32 }), 401, 'voucher_invalid'],
  ['an epoch that cannot be', 'voucher', withFields({ epoch: 256 }), 401, 'voucher_invalid'],
  [
    'the other form of its signature',
    'x402',
    withPayment(({ payload }) => {
      const bytes = Buffer.from(payload.signature.slice(2), 'hex')
      payload.signature = `0x${Buffer.from(malleate(bytes)).toString('hex')}`
    }),
    402,
    'payment_invalid',
  ],
  ['nothing', 'x402', withValue('0'), 402, 'payment_mismatch'],
  ['more than there can be', 'x402', withValue((2n ** 256n).toString()), 402, 'payment_invalid'],
  ['less than nothing', 'x402', withValue('-500'), 402, 'payment_invalid'],
])('%s, by %s, is refused', async (_what, way, change, status, code) => {
  const [name = '', value = ''] = await ways.all[way].headers({ cid })
  const changed = value.startsWith('Bearer ') ? `Bearer ${change(value.slice(7))}` : change(value)
  const moved = await ways.movedBy(async () => {
    const answer = await at.call({ cid, rawHeaders: [name, changed] })
    expect([answer.status, answer.problem().code]).toEqual([status, code])
    expect(answer.header(callHeaders.call)).toBeUndefined()
  })
  expect(moved).toEqual(noMoney)
})
