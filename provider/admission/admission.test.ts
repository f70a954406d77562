import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { ErrorCode } from '../../protocol/errors.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { signPass } from '../../protocol/pass.ts'
import { usdc } from '../../protocol/usdc.ts'
import { addressOf, grantOf, market, passOf, provider, randomHex } from '../../test/support/money.ts'
import type { ProvedAccess } from '../ledger/records.ts'
import { createFindPayer } from './find-payer.ts'
import { createIdleChecks } from './idle-checks.ts'
import { withWaysToPay } from './refusals.ts'

const payer = privateKeyToAccount(`0x${'01'.repeat(32)}`)
const thief = privateKeyToAccount(`0x${'02'.repeat(32)}`)
const friend = privateKeyToAccount(`0x${'03'.repeat(32)}`)
/** Has trial credits, and no grant. */
const guest = privateKeyToAccount(`0x${'04'.repeat(32)}`)
const owner = addressOf(0x0e4)

function setup(grantChanges: Partial<Grant> = {}) {
  const clock = createTestClock()
  const grants = {
    grant: (address: string) =>
      [payer.address, friend.address].some((known) => known === address)
        ? grantOf({ payer: address as never, ...grantChanges })
        : undefined,
    credits: (address: string) =>
      [payer.address, guest.address].includes(address as never)
        ? { provider, user: address as never, granted: 5, used: 5 }
        : undefined,
  }
  const revoked = new Set<string>()
  const revokedPasses = { has: ({ id }: { id: string }) => revoked.has(id) }
  const accesses = new Set<string>()
  const voucherAccesses = {
    has: (access: ProvedAccess) => accesses.has(JSON.stringify(access)),
    keep: async (access: ProvedAccess) => void accesses.add(JSON.stringify(access)),
  }
  const idleChecks = createIdleChecks({ clock })
  const find = createFindPayer(
    {
      clock,
      log: createTestLog(),
      grants,
      revokedPasses,
      hasPaid: () => false,
      idleChecks,
      voucherAccesses,
    },
    { provider, name: 'alice', market },
  )
  return {
    clock,
    revoked,
    idleChecks,
    find: (
      who: 'owner' | 'caller' | 'any',
      headers: Record<string, string | string[]> = {},
      remoteAddress = '192.0.2.1',
    ) =>
      find({
        headers,
        socket: { remoteAddress },
        deployment: { spec: { payer: who, owner } },
        priceUsdc: usdc(500n),
      }),
  }
}

const token = (changes: Parameters<typeof passOf>[0] = {}, signer = payer) =>
  signPass(passOf({ payer: payer.address, ...changes }), signer, market)

const bearer = (value: string) => ({ authorization: `Bearer ${value}` })

const refused = (code: ErrorCode) => expect.objectContaining({ name: 'ProtocolError', code })

test('the owner pays, a pass pays, or the owner pays for who has none: as the deployment says', async () => {
  const { find } = setup()
  const headers = bearer(await token())
  expect(await find('owner')).toEqual({ kind: 'owner', address: owner })
  expect(await find('owner', headers)).toEqual({ kind: 'owner', address: owner })
  expect(await find('any')).toEqual({ kind: 'owner', address: owner })
  expect(await find('any', headers)).toMatchObject({ kind: 'pass', address: payer.address })
  expect(await find('caller', headers)).toMatchObject({ kind: 'pass', address: payer.address })
})

test('a header that names a payer counts for nothing, and neither does a login of the program', async () => {
  const { find } = setup()
  const headers = { payer: payer.address, 'x-payer': payer.address, 'khachapuri-payer': payer.address }
  await expect(find('caller', headers)).rejects.toEqual(refused('payment_required'))
  expect(await find('any', headers)).toEqual({ kind: 'owner', address: owner })
  await expect(find('caller', { authorization: 'Basic YTpi' })).rejects.toEqual(refused('payment_required'))
  expect(await find('any', bearer('eyJhbGciOi.J9.e30'))).toEqual({ kind: 'owner', address: owner })
})

test('a pass that is altered, of another key or of another market never falls back to the owner', async () => {
  const { find } = setup()
  const good = await token()
  const [head, payload, signature] = good.split('.') as [string, string, string]
  const altered = JSON.parse(Buffer.from(payload, 'base64url').toString())
  altered.maxSpend = '999999999'
  const bad = [
    [head, Buffer.from(JSON.stringify(altered)).toString('base64url'), signature].join('.'),
    await token({}, thief),
    await signPass(passOf({ payer: payer.address }), payer, { ...market, chainId: 1 }),
    `${good}x`,
    'kp1.e30.AA',
    'kp1.',
    `kp1.${'a'.repeat(limits.passBytesMax)}.x`,
  ]
  for (const value of bad) await expect(find('any', bearer(value))).rejects.toEqual(refused('pass_invalid'))
})

test('passes for others and passes without a grant are refused before their signature costs anything', async () => {
  const { find } = setup()
  const elsewhere = await token({ providers: [addressOf(7)] }, thief)
  const stranger = await signPass(passOf({ payer: thief.address }), thief, market)
  for (let i = 0; i < limits.passFailuresPerSecondMax * 2; i += 1) {
    await expect(find('any', bearer(elsewhere))).rejects.toEqual(refused('pass_not_for_provider'))
    await expect(find('any', bearer(stranger))).rejects.toEqual(refused('grant_missing'))
  }
  expect(await find('any', bearer(await token()))).toMatchObject({ kind: 'pass' })
})

test('a pass that was taken back pays no more, known by sight or not', async () => {
  const { find, revoked } = setup()
  const [known, fresh] = [`0x${'1d'.repeat(32)}`, `0x${'2e'.repeat(32)}`] as const
  const headers = bearer(await token({ id: known }))
  expect(await find('any', headers)).toMatchObject({ kind: 'pass' })
  revoked.add(known).add(fresh)
  await expect(find('any', headers)).rejects.toEqual(refused('pass_revoked'))
  await expect(find('any', bearer(await token({ id: fresh })))).rejects.toEqual(refused('pass_revoked'))
  expect(await find('any', bearer(await token({ id: `0x${'3f'.repeat(32)}` })))).toMatchObject({
    kind: 'pass',
  })
})

test('a pass makes trial calls where its payer has credits and no grant; whether any are left is not decided here', async () => {
  const { find } = setup()
  const trial = bearer(await signPass(passOf({ payer: guest.address }), guest, market))
  for (const who of ['caller', 'any'] as const)
    expect(await find(who, trial)).toMatchObject({ kind: 'trial', address: guest.address })
  expect(await find('owner', trial)).toEqual({ kind: 'owner', address: owner })
  expect(await find('any', bearer(await token()))).toMatchObject({ kind: 'pass', address: payer.address })
  const forged = await signPass(passOf({ payer: guest.address }), thief, market)
  await expect(find('any', bearer(forged))).rejects.toEqual(refused('pass_invalid'))
})

test('a flood of wrong signatures stops new passes from where it comes for a second, and from nowhere else', async () => {
  const { find, clock } = setup()
  const known = bearer(await token())
  const fresh = bearer(await token({ id: `0x${'2e'.repeat(32)}` }))
  const here = '2001:db8::1'
  await find('any', known, here)
  const forged = bearer(await token({}, thief))
  for (let i = 0; i < limits.failuresPerSourcePerSecondMax; i += 1) {
    await expect(find('any', forged, here)).rejects.toEqual(refused('pass_invalid'))
  }
  // A host has all of its /64.
  await expect(find('any', fresh, '2001:db8::2')).rejects.toEqual(refused('too_many_requests'))
  expect(await find('any', known, here)).toMatchObject({ kind: 'pass' })
  await clock.advance(1_000)
  expect(await find('any', fresh, here)).toMatchObject({ kind: 'pass' })
})

test('of passes that pay for nothing a payer has as many checked as its grant could pay for, and no others wait for it', async () => {
  const { find, clock, idleChecks } = setup({ budgetUsdc: usdc(20n * 500n) })
  const fresh = async () => bearer(await token({ id: randomHex() }))
  const show = async (count: number) => {
    for (let i = 0; i < count; i += 1)
      expect(await find('any', await fresh())).toMatchObject({ kind: 'pass' })
  }
  const known = await fresh()
  await find('any', known)
  await show(19)
  await expect(find('any', await fresh())).rejects.toMatchObject({
    code: 'too_many_requests',
    details: { retryAfterSeconds: 3 },
  })
  expect(await find('any', known)).toMatchObject({ kind: 'pass' })
  const other = bearer(await signPass(passOf({ payer: friend.address }), friend, market))
  expect(await find('any', other)).toMatchObject({ kind: 'pass', address: friend.address })
  idleChecks.addPaid(payer.address)
  await show(1)
  await clock.advance(3_000)
  await show(1)
  await expect(find('any', await fresh())).rejects.toEqual(refused('too_many_requests'))
})

test('callers with the same new token share one check of its signature', async () => {
  const { find } = setup()
  const headers = bearer(await token())
  const payers = await Promise.all(Array.from({ length: 20 }, () => find('any', headers)))
  const [first] = payers
  for (const found of payers) {
    expect(found.kind === 'pass' && first?.kind === 'pass' && found.pass === first.pass).toBe(true)
  }
})

test('a caller who does not pay is told the price and every way to pay', async () => {
  const { find } = setup()
  const problem = await find('caller').then(
    () => undefined,
    (error: ProtocolError) => error.toProblem(),
  )
  expect(problem).toMatchObject({
    status: 402,
    code: 'payment_required',
    price: '500',
    asset: 'USDC',
    provider,
    chainId: market.chainId,
    escrow: market.escrow,
    detail: 'A call costs 0.0005 USDC, and its caller pays.',
    pay: [
      {
        way: 'pass',
        commands: expect.arrayContaining(['khachapuri approve alice --price 0.0005 --budget <usdc>']),
      },
      { way: 'voucher', header: 'Khachapuri-Voucher: kv1.…' },
      { way: 'grant' },
      {
        way: 'credits',
        commands: ['khachapuri pass create --provider alice --max-price 0 --max-spend 0'],
      },
    ],
  })
  expect(Buffer.byteLength(JSON.stringify(problem))).toBeLessThan(limits.problemBytesMax)
})

test('other refusals about money carry the ways to pay, too, and no others do', () => {
  const facts = { provider, name: 'alice', market, priceUsdc: usdc(500n) }
  const low = new ProtocolError('grant_too_low', 'Too low.', { hint: 'More.', details: { left: '3' } })
  expect(withWaysToPay(low, facts).toProblem()).toMatchObject({
    code: 'grant_too_low',
    left: '3',
    price: '500',
  })
  const busy = new ProtocolError('provider_busy', 'Busy.', { hint: 'Wait.' })
  expect(withWaysToPay(busy, facts)).toBe(busy)
})
