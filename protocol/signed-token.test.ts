import fc from 'fast-check'
import { hexToBytes, numberToHex, slice, toHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { base64url } from './base/bytes.ts'
import { anyDeployment, parsePass, signPass, verifyPass } from './pass.ts'
import { parsePassRevocation, signPassRevocation } from './pass-revocation.ts'
import { parseStatementRequest, signStatementRequest } from './statement-request.ts'
import { usdc } from './usdc.ts'
import { formatVoucher, parseVoucher, signVoucher } from './voucher.ts'

const market = { chainId: 31_337, escrow: '0x000000000000000000000000000000000000e5c0' } as const
const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

/** The other forms of a token that anybody can write who has seen it: its meaning is the same. */
function otherForms(token: string): string[] {
  const [prefix, payload, signature] = token.split('.') as [string, string, string]
  const bytes = toHex(base64url.decode(signature) as Uint8Array)
  const [r, s, v] = [slice(bytes, 0, 32), BigInt(slice(bytes, 32, 64)), Number(slice(bytes, 64))]
  const form = (s: bigint, v: number) =>
    [
      prefix,
      payload,
      base64url.encode(
        hexToBytes(`${r}${numberToHex(s, { size: 32 }).slice(2)}${numberToHex(v, { size: 1 }).slice(2)}`),
      ),
    ].join('.')
  return [
    form(order - s, 55 - v),
    form(s, v - 27),
    form(order - s, 28 - v),
    `${token}=`,
    ...otherPayloads(payload).map((other) => [prefix, other, signature].join('.')),
  ]
}

/** The same fields with the same values, written in another way. */
function otherPayloads(payload: string): string[] {
  const text = Buffer.from(payload, 'base64url').toString()
  const fields = JSON.parse(text) as Record<string, unknown>
  const entries = Object.entries(fields)
  const lowerCase = (value: unknown) => JSON.parse(JSON.stringify(value).toLowerCase())
  const [firstName] = entries[0] as [string, unknown]
  return [
    `${text} `,
    JSON.stringify(fields, null, 1),
    JSON.stringify(Object.fromEntries(entries.toReversed())),
    text.replace('{', `{"${firstName}":${JSON.stringify(fields[firstName])},`),
    text.replace(/"payer":"0x/, '"payer":"\\u0030x'),
    text.replace(/(:\d+)([,}])/, '$1.0$2'),
    text.replace(/:"(\d+)"/, ':"0$1"'),
    JSON.stringify(
      Object.fromEntries(entries.map(([name, value]) => [name, name === 'payer' ? lowerCase(value) : value])),
    ),
  ]
    .filter((other) => other !== text)
    .map((other) => Buffer.from(other).toString('base64url'))
}

test('a signed token has one form: no second one can be made of it without the key', async () => {
  const key = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .filter((bytes) => bytes.some((byte) => byte > 0 && byte < 255))
  await fc.assert(
    fc.asyncProperty(key, fc.integer({ min: 0, max: 2 ** 40 }), async (secret, validBefore) => {
      const account = privateKeyToAccount(toHex(secret))
      const { address: payer } = account
      const request = { payer, provider: payer, validBefore }
      const asked = await signStatementRequest(request, account, market)
      expect(await parseStatementRequest(asked, market).verify()).toEqual(request)
      for (const form of otherForms(asked))
        await expect(async () => parseStatementRequest(form, market).verify()).rejects.toThrow(/not valid/)
      const revocation = { payer, id: toHex(secret), validBefore }
      const revoked = await signPassRevocation(revocation, account, market)
      expect(await parsePassRevocation(revoked, market).verify()).toEqual(revocation)
      for (const form of otherForms(revoked))
        await expect(async () => parsePassRevocation(form, market).verify()).rejects.toThrow(/revocation/)
      const anyCase = { ...revocation, payer: payer.toLowerCase() as typeof payer }
      expect(await signPassRevocation(anyCase, account, market)).toBe(revoked)
      const pass = {
        ...{ payer, providers: [payer], deployment: anyDeployment, id: toHex(secret) },
        ...{ maxPricePerCall: usdc(7n), maxSpend: usdc(70n), validAfter: 0, validBefore },
      }
      const passed = await signPass(pass, account, market)
      expect(parsePass(passed).pass).toEqual(pass)
      for (const form of otherForms(passed))
        await expect(verifyPass(form, market)).rejects.toThrow(/not valid/)
      const voucher = { payer, provider: payer, maxAmount: usdc(70n), maxCalls: 7, epoch: 1 }
      const signed = { voucher, signer: payer, signature: await signVoucher(voucher, account, market) }
      const promised = formatVoucher(signed)
      expect(parseVoucher(promised)).toEqual(signed)
      for (const form of otherForms(promised)) expect(() => parseVoucher(form)).toThrow()
    }),
    { numRuns: 20 },
  )
})
