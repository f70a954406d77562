import fc from 'fast-check'
import type { Hex } from 'viem'
import { expect, test } from 'vitest'
import type { Grant } from '../../protocol/grant.ts'
import { usdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  claimOf,
  createTempDir,
  grantOf,
  openTestLedger,
  passOf,
  receiptOf,
} from '../../test/support/money.ts'
import type { Claim } from './claim.ts'
import type { Ledger, Reservation } from './ledger.ts'

/** Any order of events against a model that adds plainly. The journal is real, and so is every restart. */

const payers = [addressOf(0xaa1), addressOf(0xaa2)] as const
const passes = payers.map((payer) => passOf({ payer, maxSpend: usdc(2_000n) }))

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('reserve'),
      who: fc.nat(1),
      byPass: fc.boolean(),
      price: fc.integer({ min: 1, max: 400 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('charge'), which: fc.nat(20), discount: fc.nat(5) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release'), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('settle'), who: fc.nat(1), part: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('top_up'), who: fc.nat(1), amount: fc.nat(1_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart') }) },
) as fc.Arbitrary<Step>

type Step =
  | { kind: 'reserve'; who: 0 | 1; byPass: boolean; price: number }
  | { kind: 'charge'; which: number; discount: number }
  | { kind: 'release'; which: number }
  | { kind: 'settle'; who: 0 | 1; part: number }
  | { kind: 'top_up'; who: 0 | 1; amount: number }
  | { kind: 'restart' }

interface InFlight {
  readonly who: 0 | 1
  readonly claim: Claim
  readonly reservation: Reservation
}

interface Model {
  readonly grants: [Grant, Grant]
  readonly chargedUsdc: [bigint, bigint]
  readonly passChargedUsdc: [bigint, bigint]
  readonly calls: [number, number]
  readonly receipts: Map<Hex, bigint>
  readonly never: Set<Hex>
  inFlight: InFlight[]
}

const createModel = (): Model => ({
  grants: [0, 1].map((who) => grantOf({ payer: payers[who as 0 | 1], budgetUsdc: usdc(3_000n) })) as [
    Grant,
    Grant,
  ],
  chargedUsdc: [0n, 0n],
  passChargedUsdc: [0n, 0n],
  calls: [0, 0],
  receipts: new Map(),
  never: new Set(),
  inFlight: [],
})

const sumOf = (calls: readonly InFlight[]) => calls.reduce((sum, { claim }) => sum + claim.priceUsdc, 0n)

function reserve(ledger: Ledger, model: Model, { who, byPass, price }: Step & { kind: 'reserve' }): void {
  const grant = model.grants[who]
  const pass = passes[who]!
  const claim = claimOf({
    payer: byPass ? { kind: 'pass', address: payers[who], pass } : { kind: 'owner', address: payers[who] },
    grant,
    priceUsdc: usdc(BigInt(price)),
  })
  const mine = model.inFlight.filter((call) => call.who === who)
  const owedUsdc = model.chargedUsdc[who] + sumOf(mine) + claim.priceUsdc
  const onPassUsdc =
    model.passChargedUsdc[who] +
    sumOf(mine.filter((call) => call.claim.payer.kind === 'pass')) +
    claim.priceUsdc
  const isCovered = owedUsdc <= grant.spentUsdc + grant.budgetUsdc && (!byPass || onPassUsdc <= pass.maxSpend)
  const result = ledger.reserve(claim)
  expect(result.kind).toBe(isCovered ? 'reserved' : 'refused')
  if (result.kind === 'reserved') model.inFlight.push({ who, claim, reservation: result.reservation })
  else model.never.add(claim.callId)
}

async function charge(model: Model, { which, discount }: Step & { kind: 'charge' }): Promise<void> {
  const [call] = model.inFlight.splice(which % Math.max(1, model.inFlight.length), 1)
  if (!call) return
  const { who, claim, reservation } = call
  const priceUsdc = usdc(claim.priceUsdc > discount ? claim.priceUsdc - BigInt(discount) : claim.priceUsdc)
  await reservation.charge(receiptOf(claim, { priceUsdc }))
  reservation.release()
  model.chargedUsdc[who] += priceUsdc
  model.calls[who] += 1
  if (claim.payer.kind === 'pass') model.passChargedUsdc[who] += priceUsdc
  model.receipts.set(claim.callId, priceUsdc)
}

/** The chain pays a part of what is due, as `Escrow.settle` would with a budget that ends. */
function settle(model: Model, { who, part }: Step & { kind: 'settle' }): void {
  const grant = model.grants[who]
  const paid = ((model.chargedUsdc[who] - grant.spentUsdc) * BigInt(part)) / 100n
  model.grants[who] = {
    ...grant,
    spentUsdc: usdc(grant.spentUsdc + paid),
    budgetUsdc: usdc(grant.budgetUsdc - paid),
    calls: grant.calls + Number((paid + grant.priceUsdc - 1n) / grant.priceUsdc),
  }
}

async function expectEqual(ledger: Ledger, model: Model): Promise<void> {
  for (const [callId, priceUsdc] of model.receipts) {
    expect((await ledger.readReceipt(callId))?.priceUsdc).toBe(priceUsdc)
  }
  for (const callId of model.never) expect(await ledger.readReceipt(callId)).toBeUndefined()
  for (const who of [0, 1] as const) {
    expect(model.chargedUsdc[who]).toBeLessThanOrEqual(
      model.grants[who].spentUsdc + model.grants[who].budgetUsdc,
    )
    const [due] = ledger.unsettled((payer) => (payer === payers[who] ? grantOf() : undefined))
    expect([due?.amountUsdc ?? 0n, due?.calls ?? 0]).toEqual([model.chargedUsdc[who], model.calls[who]])
  }
}

test('in any order of events nobody owes more than its grant, and nothing is lost or charged twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50 }), async (steps) => {
      using dir = createTempDir()
      const model = createModel()
      let ledger = await openTestLedger(dir.path)
      const reopen = async () => {
        await ledger[Symbol.asyncDispose]()
        for (const { claim } of model.inFlight) model.never.add(claim.callId)
        model.inFlight = []
        ledger = await openTestLedger(dir.path)
      }
      for (const next of steps) {
        if (next.kind === 'reserve') reserve(ledger, model, next)
        else if (next.kind === 'charge') await charge(model, next)
        else if (next.kind === 'release') {
          const [call] = model.inFlight.splice(next.which % Math.max(1, model.inFlight.length), 1)
          call?.reservation.release()
          if (call) model.never.add(call.claim.callId)
        } else if (next.kind === 'settle') settle(model, next)
        else if (next.kind === 'top_up') {
          const grant = model.grants[next.who]
          model.grants[next.who] = { ...grant, budgetUsdc: usdc(grant.budgetUsdc + BigInt(next.amount)) }
        } else await reopen()
      }
      await expectEqual(ledger, model)
      await reopen()
      await expectEqual(ledger, model)
      await ledger[Symbol.asyncDispose]()
    }),
    { numRuns: 10 },
  )
})
