import {
  decodePaymentRequiredHeader,
  decodePaymentResponseHeader,
  encodePaymentRequiredHeader,
  encodePaymentResponseHeader,
  encodePaymentSignatureHeader,
} from '@x402/core/http'
import { parsePaymentRequired as parseByTheirSchema } from '@x402/core/schemas'
import type { PaymentPayload, PaymentRequired, PaymentRequirements } from '@x402/core/types'
import { authorizationTypes } from '@x402/evm'
import fc from 'fast-check'
import type { Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { type ErrorCode, isProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { usdc } from './usdc.ts'
import {
  type Authorization,
  decidePayment,
  formatPaymentRequired,
  formatPaymentResult,
  formatTerms,
  type Payment,
  type PaymentTerms,
  parsePayment,
  parsePaymentRequired,
  parsePaymentResult,
  recoverAuthorizationSigner,
  tokenDomain,
} from './x402.ts'

/** The shapes of x402 are others' to say: every header here goes through their own library, too. */

const payer = privateKeyToAccount(generatePrivateKey())
const provider = privateKeyToAccount(generatePrivateKey()).address
const token = { address: privateKeyToAccount(generatePrivateKey()).address, name: 'USD Coin', version: '2' }
const nowSeconds = 1_700_000_000
const neededSeconds = 90
const nonce: Hex = `0x${'a7'.repeat(32)}`

const terms: PaymentTerms = {
  chainId: 8453,
  asset: token,
  payTo: provider,
  amountUsdc: usdc(500n),
  maxTimeoutSeconds: 150,
}

const authorization: Authorization = {
  from: payer.address,
  to: provider,
  valueUsdc: usdc(500n),
  validAfter: 0,
  validBefore: nowSeconds + 150,
  nonce,
}

const payload = (changes: Readonly<Record<string, unknown>> = {}): PaymentPayload => ({
  x402Version: 2,
  accepted: formatTerms(terms) as PaymentRequirements,
  payload: {
    signature: `0x${'11'.repeat(65)}`,
    authorization: {
      from: payer.address,
      to: provider,
      value: '500',
      validAfter: '0',
      validBefore: String(nowSeconds + 150),
      nonce,
      ...changes,
    },
  },
})

const codeOf = (act: () => unknown): ErrorCode | undefined => {
  try {
    act()
    return undefined
  } catch (error) {
    return isProtocolError(error) ? error.code : undefined
  }
}

test('what their client sends is read as it was meant', () => {
  const header = encodePaymentSignatureHeader(payload())
  expect(parsePayment(header)).toEqual({
    accepted: {
      scheme: 'exact',
      network: 'eip155:8453',
      asset: token.address,
      payTo: provider,
      amount: '500',
    },
    authorization,
    signature: `0x${'11'.repeat(65)}`,
    identifier: undefined,
  } satisfies Payment)
})

test('a payment may carry a name, and an offer that is only sent back is none', () => {
  const named = (info: Record<string, unknown>) =>
    encodePaymentSignatureHeader({ ...payload(), extensions: { 'payment-identifier': { info, schema: {} } } })
  expect(parsePayment(named({ required: false, id: 'pay_7d5d747be160e280' })).identifier).toBe(
    'pay_7d5d747be160e280',
  )
  expect(parsePayment(named({ required: false })).identifier).toBeUndefined()
  for (const id of ['short', 'x'.repeat(129), 'pay 7d5d747be160e280'])
    expect(codeOf(() => parsePayment(named({ id })))).toBe('payment_invalid')
})

test('what we ask for is what their schema wants, and what we read of theirs again', () => {
  const header = formatPaymentRequired({
    url: 'http://alice.example/é?x=1',
    error: 'payment_required',
    terms,
  })
  const read = decodePaymentRequiredHeader(header)
  expect(parseByTheirSchema(read).success).toBe(true)
  expect(read).toMatchObject({
    x402Version: 2,
    resource: { url: 'http://alice.example/é?x=1' },
    accepts: [
      {
        scheme: 'exact',
        network: 'eip155:8453',
        amount: '500',
        asset: token.address,
        payTo: provider,
        maxTimeoutSeconds: 150,
        extra: { name: 'USD Coin', version: '2', assetTransferMethod: 'eip3009' },
      },
    ],
  })
  expect(parsePaymentRequired(encodePaymentRequiredHeader(read))).toEqual([terms])
})

test('of what others ask for, only what can be paid here is left', () => {
  const offer = formatTerms(terms)
  const accepts = [
    { ...offer, scheme: 'upto' },
    { ...offer, network: 'solana:mainnet' },
    { ...offer, extra: { ...offer.extra, assetTransferMethod: 'permit2' } },
    offer,
  ]
  const required = { x402Version: 2, resource: { url: 'http://x' }, accepts } as PaymentRequired
  expect(parsePaymentRequired(encodePaymentRequiredHeader(required))).toEqual([terms])
})

test('a long URL does not make a header that nobody takes', () => {
  const url = `http://alice.example/path?${'x'.repeat(limits.targetBytesMax)}`
  const header = formatPaymentRequired({ url, error: 'payment_required', terms })
  expect(header.length).toBeLessThan(limits.x402HeaderBytesMax)
  expect(decodePaymentRequiredHeader(header).resource.url).toBe('http://alice.example/path')
})

test('results say the same in their library and in ours', () => {
  const results = [
    { success: true, transaction: nonce, chainId: 8453, payer: payer.address },
    {
      success: false,
      errorReason: 'settlement_pending',
      transaction: undefined,
      chainId: 1,
      payer: payer.address,
    },
  ]
  for (const result of results) {
    const read = decodePaymentResponseHeader(formatPaymentResult(result))
    expect(read).toMatchObject({ success: result.success, network: `eip155:${result.chainId}` })
    expect(parsePaymentResult(encodePaymentResponseHeader(read))).toEqual(result)
  }
})

test('headers that are no payment are refused with one code, whatever they hold', () => {
  const json = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')
  const bad = [
    '',
    '!!!',
    'aGVsbG8=',
    json(null),
    json({ ...payload(), x402Version: 1 }),
    json(payload({ value: '-1' })),
    json(payload({ value: '0x1f4' })),
    json(payload({ value: (2n ** 64n).toString() })),
    json(payload({ value: 500 })),
    json(payload({ validBefore: (2n ** 256n - 1n).toString() })),
    json(payload({ nonce: '0x01' })),
    json(payload({ from: 'me' })),
    json({ ...payload(), payload: { authorization: payload().payload['authorization'] } }),
    'A'.repeat(limits.x402HeaderBytesMax + 4),
    Buffer.from('['.repeat(3_000)).toString('base64'),
  ]
  for (const header of bad) expect(codeOf(() => parsePayment(header))).toBe('payment_invalid')
})

test('whatever bytes come, reading them ends in a payment or in its one refusal', () => {
  const mutate = fc.tuple(fc.nat(), fc.string({ maxLength: 8 }))
  fc.assert(
    fc.property(mutate, ([at, text]) => {
      const json = JSON.stringify(payload())
      const place = at % json.length
      const header = Buffer.from(json.slice(0, place) + text + json.slice(place + text.length)).toString(
        'base64',
      )
      expect([undefined, 'payment_invalid']).toContain(codeOf(() => parsePayment(header)))
    }),
  )
})

test('a signature by their types is that of its payer, and of nobody for another token, chain or amount', async () => {
  const signature = await payer.signTypedData({
    domain: { name: token.name, version: token.version, chainId: 8453, verifyingContract: token.address },
    types: authorizationTypes,
    primaryType: 'TransferWithAuthorization',
    message: {
      from: payer.address,
      to: provider,
      value: 500n,
      validAfter: 0n,
      validBefore: BigInt(nowSeconds + 150),
      nonce,
    },
  })
  const domain = { chainId: 8453, token }
  expect(tokenDomain(domain).verifyingContract).toBe(token.address)
  expect(await recoverAuthorizationSigner(authorization, signature, domain)).toBe(payer.address)
  const others = [
    recoverAuthorizationSigner({ ...authorization, valueUsdc: usdc(501n) }, signature, domain),
    recoverAuthorizationSigner(authorization, signature, { ...domain, chainId: 1 }),
    recoverAuthorizationSigner(authorization, signature, { ...domain, token: { ...token, name: 'USDC' } }),
    recoverAuthorizationSigner(authorization, `0x${'00'.repeat(65)}`, domain),
  ]
  for (const other of await Promise.all(others)) expect(other).not.toBe(payer.address)
})

test('only a payment of exactly what was asked for, valid for the whole call, covers it', () => {
  const decide = (changes: { accepted?: Partial<Payment['accepted']>; signed?: Partial<Authorization> }) =>
    decidePayment(
      {
        accepted: { ...formatTerms(terms), ...changes.accepted },
        authorization: { ...authorization, ...changes.signed },
        signature: '0x',
        identifier: undefined,
      },
      terms,
      { nowSeconds, neededSeconds },
    )
  expect(decide({})).toEqual({ kind: 'covers' })
  expect(decide({ accepted: { asset: token.address.toLowerCase() } })).toEqual({ kind: 'covers' })
  const mismatches = [
    { accepted: { scheme: 'upto' } },
    { accepted: { network: 'eip155:1' } },
    { accepted: { asset: provider } },
    { accepted: { payTo: payer.address } },
    { signed: { to: payer.address } },
    { accepted: { amount: '499' } },
    { signed: { valueUsdc: usdc(499n) } },
    { signed: { valueUsdc: usdc(501n) } },
  ]
  for (const changes of mismatches) expect(decide(changes)).toMatchObject({ kind: 'mismatch' })
  expect(decide({ signed: { validAfter: nowSeconds } })).toEqual({ kind: 'not_yet_valid' })
  expect(decide({ signed: { validAfter: nowSeconds - 1 } })).toEqual({ kind: 'covers' })
  expect(decide({ signed: { validBefore: nowSeconds + neededSeconds - 1 } })).toMatchObject({
    kind: 'expires_too_soon',
  })
  expect(decide({ signed: { validBefore: nowSeconds + neededSeconds } })).toEqual({ kind: 'covers' })
  expect(decide({ signed: { validBefore: nowSeconds + limits.x402WindowSecondsMax + 1 } })).toMatchObject({
    kind: 'valid_too_long',
  })
})
