import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from './base/clock.ts'
import { usdc } from './usdc.ts'
import { signVoucher } from './voucher.ts'
import { openTab } from './voucher-client.ts'
import { createMemoryTab, createVoucherSession } from './voucher-session.ts'
import { assertVoucherAccess, parseVoucherToken, signVoucherAccess } from './voucher-token.ts'

const market = { chainId: 31_337, escrow: '0x000000000000000000000000000000000000e5c0' } as const
const key = privateKeyToAccount(`0x${'01'.repeat(32)}`)
const provider = '0x000000000000000000000000000000000000dEaD'

test('a wallet that refuses to sign once costs nothing and is asked again for the next call', async () => {
  const grant = {
    payer: key.address,
    provider,
    signer: key.address,
    epoch: 0,
    spentUsdc: usdc(0n),
    calls: 0,
  } as const
  const store = createMemoryTab({ ...openTab(grant), isFresh: false })
  let asked = 0
  const session = createVoucherSession(
    {
      clock: createTestClock(),
      store,
      sign: (voucher) => signVoucher(voucher, key, market),
      signAccess(scope) {
        asked += 1
        return asked === 1 ? Promise.reject(new Error('not now')) : signVoucherAccess(scope, key, market)
      },
      readGrant: () => Promise.resolve(undefined),
    },
    { market, rules: { windowCalls: 10 } },
  )
  const sent: string[] = []
  const call = () =>
    session.call(usdc(500n), async (token) => {
      sent.push(token)
      return { end: { kind: 'charged', priceUsdc: usdc(500n), totals: undefined }, value: 'answer' }
    })
  await expect(call()).rejects.toThrow('not now')
  expect([sent, store.read().open, store.read().sessionUsdc]).toEqual([[], [], 0n])
  expect(await call()).toBe('answer')
  expect([sent.length, asked, store.read().sessionUsdc]).toEqual([1, 2, 500n])
})

test('vouchers that are handed out one after the other add up, and a wallet may sign them at once', async () => {
  const grant = { payer: key.address, provider, signer: key.address, epoch: 0 } as const
  const store = createMemoryTab(openTab({ ...grant, spentUsdc: usdc(1_000n), calls: 2 }))
  const session = createVoucherSession(
    {
      clock: createTestClock(),
      store,
      sign: (voucher) => signVoucher(voucher, key, market),
      signAccess: (scope) => signVoucherAccess(scope, key, market),
      readGrant: () => Promise.resolve(undefined),
    },
    { market, rules: { windowCalls: 1, maxPriceUsdc: usdc(500n) } },
  )
  const tokens = await Promise.all([session.handOut(3, usdc(500n)), session.handOut(2, usdc(100n))])
  const promised = tokens.map((token) => parseVoucherToken(token).signed.voucher)
  expect(promised.map(({ maxAmount, maxCalls }) => [maxAmount, maxCalls])).toEqual([
    [2_500n, 5],
    [2_700n, 7],
  ])
  for (const token of tokens) await assertVoucherAccess(parseVoucherToken(token), market)
  await expect(session.handOut(1, usdc(501n))).rejects.toMatchObject({ code: 'price_above_cap' })
})
