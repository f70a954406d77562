import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Grant } from '../../protocol/grant.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import type { SignedVoucher, Voucher } from '../../protocol/voucher.ts'
import {
  addressOf,
  chargeCall,
  claimOf,
  createTempDir,
  grantOf,
  openTestLedger,
  payer,
  provider,
  receiptOf,
  reserve,
} from '../../test/support/money.ts'
import type { Claim } from './claim.ts'
import type { Ledger, Reservation } from './ledger.ts'

/** Signatures are checked before the ledger hears of a voucher; here any bytes will do. */
const signature = `0x${'5f'.repeat(64)}1b` as const

const signedOf = (changes: Partial<Voucher> = {}, signer = payer): SignedVoucher => ({
  voucher: { payer, provider, maxAmount: usdc(5_000n), maxCalls: 10, epoch: 0, ...changes },
  signer,
  signature,
})

const laneGrant = (changes: Partial<Grant> = {}) => grantOf({ signer: payer, ...changes })

const voucherClaim = (signed: SignedVoucher, changes: Partial<Claim> = {}): Claim =>
  claimOf({
    payer: { kind: 'voucher', address: payer, signed },
    grant: laneGrant({ signer: signed.signer }),
    policy: undefined,
    ...changes,
  })

async function chargeByVoucher(ledger: Ledger, signed: SignedVoucher, changes: Partial<Claim> = {}) {
  await ledger.vouchers.accept(signed)
  const claim = voucherClaim(signed, changes)
  const { chargedUsdc, calls } = await reserve(ledger, claim).charge(receiptOf(claim))
  return { chargedUsdc, calls }
}

const refusalOf = (ledger: Ledger, claim: Claim) => {
  const result = ledger.reserve(claim)
  return result.kind === 'refused' ? { code: result.error.code, ...result.error.details } : result.kind
}

test('a hundred calls are in flight under one voucher, and not one more than it covers', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const byMoney = signedOf({ maxAmount: usdc(50_000n), maxCalls: 1_000 })
  const byCalls = signedOf({ maxAmount: usdc(500_000n), maxCalls: 100 }, addressOf(7))
  for (const signed of [byMoney, byCalls]) {
    await ledger.vouchers.accept(signed)
    const results = Array.from({ length: 130 }, () => refusalOf(ledger, voucherClaim(signed)))
    expect(results.filter((result) => result === 'reserved')).toHaveLength(100)
    expect(results.at(-1)).toMatchObject({
      code: 'voucher_too_low',
      charged: '0',
      owed: '50000',
      owedCalls: 100,
    })
  }
})

test('a voucher that is not on disk enables nothing', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  expect(refusalOf(ledger, voucherClaim(signedOf()))).toMatchObject({
    code: 'voucher_too_low',
    accepted: null,
  })
  // One that the journal does not take any more is as good as none.
  const closing = ledger[Symbol.asyncDispose]()
  await expect(ledger.vouchers.accept(signedOf())).rejects.toMatchObject({ code: 'ledger_unavailable' })
  expect(ledger.vouchers.find({ payer, signer: payer, epoch: 0 })).toBeUndefined()
  await closing
})

test('the highest voucher, what was charged, and nothing in flight are there after a restart', async () => {
  using dir = createTempDir()
  const high = signedOf({ maxAmount: usdc(2n ** 63n + 5n), maxCalls: 2 ** 32 - 1 })
  {
    await using ledger = await openTestLedger(dir.path)
    expect(await chargeByVoucher(ledger, signedOf())).toEqual({ chargedUsdc: 500n, calls: 1 })
    await ledger.vouchers.accept(high)
    // None of these takes its place: lower, higher in one number only, and the same again.
    await ledger.vouchers.accept(signedOf())
    await ledger.vouchers.accept(signedOf({ maxAmount: usdc(2n ** 64n - 1n), maxCalls: 9 }))
    reserve(ledger, voucherClaim(high))
  }
  await using ledger = await openTestLedger(dir.path)
  expect(ledger.vouchers.find({ payer, signer: payer, epoch: 0 })).toEqual(high)
  expect(ledger.unsettled(() => laneGrant())).toMatchObject([
    { payer, signer: payer, epoch: 0, amountUsdc: 500n, calls: 1, voucher: high },
  ])
  expect(await chargeByVoucher(ledger, high)).toEqual({ chargedUsdc: 1_000n, calls: 2 })
})

test('an older voucher pays as far as it goes, and no further', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const [low, high] = [signedOf({ maxAmount: usdc(1_000n) }), signedOf({ maxCalls: 20 })]
  await chargeByVoucher(ledger, low)
  await ledger.vouchers.accept(high)
  reserve(ledger, voucherClaim(low))
  expect(refusalOf(ledger, voucherClaim(low))).toMatchObject({ code: 'voucher_too_low', epoch: 0 })
  reserve(ledger, voucherClaim(high))
})

test('one that promises more money for fewer calls is refused, with the one that counts', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  await chargeByVoucher(ledger, signedOf())
  const crooked = signedOf({ maxAmount: usdc(9_000n), maxCalls: 9 })
  await ledger.vouchers.accept(crooked)
  expect(refusalOf(ledger, voucherClaim(crooked))).toMatchObject({
    code: 'voucher_too_low',
    accepted: expect.stringMatching(/^kv1\./),
    charged: '500',
    chargedCalls: 1,
  })
})

test('each signer, and metered use, has a line of its own', async () => {
  using dir = createTempDir()
  const session = addressOf(0x5e5)
  {
    await using ledger = await openTestLedger(dir.path)
    await chargeByVoucher(ledger, signedOf())
    await chargeByVoucher(ledger, signedOf({}, session))
    await chargeByVoucher(ledger, signedOf({}, session))
    await chargeCall(ledger)
  }
  await using ledger = await openTestLedger(dir.path)
  const unsettled = ledger.unsettled((_payer, signer) => grantOf({ signer }))
  expect(unsettled.map(({ signer, calls }) => [signer, calls]).sort()).toEqual(
    [
      [grantOf().signer, 1],
      [payer, 1],
      [session, 2],
    ].sort(),
  )
})

test('in a new epoch the books begin where the chain is, and the debts of the old one are gone', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  await chargeByVoucher(ledger, signedOf())
  // More than the chain has counted: it would be due, were it of this epoch.
  await chargeByVoucher(ledger, signedOf())
  const grant = laneGrant({ epoch: 1, spentUsdc: usdc(200n), calls: 1 })
  expect(ledger.unsettled(() => grant)).toEqual([])
  expect(refusalOf(ledger, voucherClaim(signedOf(), { grant }))).toMatchObject({
    code: 'voucher_epoch_other',
    epoch: 1,
    accepted: null,
    charged: '200',
    chargedCalls: 1,
  })
  const next = signedOf({ epoch: 1 })
  expect(await chargeByVoucher(ledger, next, { grant })).toEqual({ chargedUsdc: 700n, calls: 2 })

  // One of the old epoch would cover the call, too, and promises no more than what was accepted since.
  const old = signedOf({ maxAmount: usdc(4_000n) })
  expect(refusalOf(ledger, voucherClaim(old, { grant }))).toMatchObject({
    code: 'voucher_epoch_other',
    epoch: 1,
  })
})

test('where the grant is the reason, the grant is named', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const signed = signedOf({ maxAmount: usdc(10n ** 9n) })
  await ledger.vouchers.accept(signed)
  const codeWith = (grant: Grant | undefined) => refusalOf(ledger, voucherClaim(signed, { grant }))
  expect(codeWith(undefined)).toMatchObject({ code: 'grant_missing' })
  expect(codeWith(laneGrant({ budgetUsdc: usdc(499n) }))).toMatchObject({ code: 'grant_too_low' })
  expect(codeWith(laneGrant({ priceUsdc: usdc(499n) }))).toMatchObject({ code: 'price_above_cap' })
  expect(codeWith(laneGrant({ expiry: 1 }))).toMatchObject({ code: 'grant_expired' })
})

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('accept' as const),
      maxAmount: fc.integer({ min: 0, max: 6_000 }),
      maxCalls: fc.integer({ min: 0, max: 20 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('reserve' as const),
      which: fc.nat(20),
      price: fc.integer({ min: 1, max: 400 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('charge' as const), which: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
)

test('in any order of vouchers, calls and restarts, what is charged was signed for and is in the grant', async () => {
  const grant = laneGrant({ budgetUsdc: usdc(4_000n) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      using dir = createTempDir()
      let ledger = await openTestLedger(dir.path)
      const signed: SignedVoucher[] = []
      let inFlight: { claim: Claim; reservation: Reservation }[] = []
      let [chargedUsdc, calls] = [0n, 0]
      const take = (which: number) => inFlight.splice(which % Math.max(1, inFlight.length), 1)[0]
      for (const next of steps) {
        if (next.kind === 'accept') {
          const { maxAmount, maxCalls } = next
          signed.push(signedOf({ maxAmount: usdc(BigInt(maxAmount)), maxCalls }))
          await ledger.vouchers.accept(signed.at(-1) as SignedVoucher)
        } else if (next.kind === 'reserve') {
          const one = signed[next.which % Math.max(1, signed.length)]
          if (!one) continue
          const claim = voucherClaim(one, { grant, priceUsdc: usdc(BigInt(next.price)) })
          const result = ledger.reserve(claim)
          if (result.kind === 'refused') continue
          inFlight.push({ claim, reservation: result.reservation })
          const owed = inFlight.reduce((sum, { claim: { priceUsdc } }) => sum + priceUsdc, chargedUsdc)
          expect(owed).toBeLessThanOrEqual(one.voucher.maxAmount)
          expect(calls + inFlight.length).toBeLessThanOrEqual(one.voucher.maxCalls)
          expect(owed).toBeLessThanOrEqual(grant.budgetUsdc)
        } else if (next.kind === 'charge') {
          const call = take(next.which)
          if (!call) continue
          await call.reservation.charge(receiptOf(call.claim))
          chargedUsdc += call.claim.priceUsdc
          calls += 1
        } else if (next.kind === 'release') take(next.which)?.reservation.release()
        else {
          await ledger[Symbol.asyncDispose]()
          inFlight = []
          ledger = await openTestLedger(dir.path)
        }
        const [due] = ledger.unsettled(() => grant)
        expect([due?.amountUsdc ?? 0n, due?.calls ?? 0]).toEqual([chargedUsdc, calls])
        if (!due) continue
        // What can be redeemed is what was charged, and all of it.
        const { maxAmount, maxCalls } = (due.voucher as SignedVoucher).voucher
        expect(due.amountUsdc).toBeLessThanOrEqual(maxAmount as Usdc)
        expect(due.calls).toBeLessThanOrEqual(maxCalls)
      }
      await ledger[Symbol.asyncDispose]()
    }),
    { numRuns: 15 },
  )
})
