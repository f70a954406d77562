import fc from 'fast-check'
import { getAddress, type Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { anyDeployment, decidePass, type Pass, passTokenOf, signPass, verifyPass } from './pass.ts'
import { usdc } from './usdc.ts'

const payer = privateKeyToAccount(generatePrivateKey())
const provider = getAddress(`0x${'a1'.repeat(20)}`)
const market = { chainId: 31_337, escrow: getAddress(`0x${'e5'.repeat(20)}`) }
const pass: Pass = {
  payer: payer.address,
  providers: [provider],
  deployment: anyDeployment,
  maxPricePerCall: usdc(1000n),
  maxSpend: usdc(5000n),
  validAfter: 100,
  validBefore: 200,
  id: `0x${'01'.repeat(32)}`,
}

test('a signed pass is read back whole', async () => {
  expect(await verifyPass(await signPass(pass, payer, market), market)).toEqual(pass)
})

test('a pass with any one character changed is refused', async () => {
  const token = await signPass(pass, payer, market)
  await fc.assert(
    fc.asyncProperty(
      fc.nat(token.length - 1),
      fc.constantFrom('A', 'b', '.', '-', '0'),
      async (index, char) => {
        fc.pre(token[index] !== char)
        const altered = token.slice(0, index) + char + token.slice(index + 1)
        await expect(verifyPass(altered, market)).rejects.toMatchObject({ code: 'pass_invalid' })
      },
    ),
    { numRuns: 60 },
  )
})

test('a pass of another market, or signed by somebody else, is refused', async () => {
  const elsewhere = await signPass(pass, payer, { ...market, chainId: 1 })
  await expect(verifyPass(elsewhere, market)).rejects.toMatchObject({ code: 'pass_invalid' })
  const thief = privateKeyToAccount(generatePrivateKey())
  await expect(verifyPass(await signPass(pass, thief, market), market)).rejects.toMatchObject({
    code: 'pass_invalid',
  })
})

test('any text is refused as a pass, never a crash', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), async (text) => {
      await expect(verifyPass(`kp1.${text}`, market)).rejects.toMatchObject({ code: 'pass_invalid' })
    }),
  )
})

test('only a bearer token that begins with kp1 is a pass', () => {
  expect(passTokenOf('Bearer kp1.a.b')).toBe('kp1.a.b')
  expect(passTokenOf('bearer kp1.a.b')).toBe('kp1.a.b')
  for (const other of [undefined, 'Bearer abc', 'Basic kp1.a.b', 'kp1.a.b'])
    expect(passTokenOf(other)).toBeUndefined()
})

const facts = {
  pass,
  provider,
  deployment: `0x${'02'.repeat(32)}` as Hex,
  priceUsdc: usdc(1000n),
  spentUsdc: usdc(0n),
  nowSeconds: 150,
}

test('a pass covers a call of its provider, in its time, below its caps', () => {
  expect(decidePass(facts)).toEqual({ kind: 'covers' })
  expect(decidePass({ ...facts, provider: payer.address })).toEqual({ kind: 'other_provider' })
  expect(decidePass({ ...facts, nowSeconds: 99 })).toEqual({ kind: 'not_yet_valid' })
  expect(decidePass({ ...facts, nowSeconds: 200 })).toEqual({ kind: 'expired' })
  expect(decidePass({ ...facts, priceUsdc: usdc(1001n) })).toEqual({
    kind: 'price_above_cap',
    capUsdc: 1000n,
  })
  expect(decidePass({ ...facts, spentUsdc: usdc(4001n) })).toEqual({ kind: 'exhausted', leftUsdc: 999n })
  const bound = { ...pass, deployment: `0x${'03'.repeat(32)}` as Hex }
  expect(decidePass({ ...facts, pass: bound })).toEqual({ kind: 'other_deployment' })
})
