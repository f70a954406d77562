import fc from 'fast-check'
import type { Hex } from 'viem'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { Credits } from '../../protocol/credits.ts'
import { usdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  chargeCall,
  claimOf,
  createTempDir,
  grantOf,
  market,
  never,
  openTestLedger,
  passOf,
  payer,
  provider,
  providerAccount,
  receiptOf,
  reserve,
} from '../../test/support/money.ts'
import type { Claim } from './claim.ts'
import { type Ledger, openLedger, type Reservation } from './ledger.ts'

/** Trial calls: as many as were granted, each once, through any restart; money is nowhere in them. */

const creditsOf = (granted: number, changes: Partial<Credits> = {}): Credits => ({
  provider,
  user: payer,
  granted,
  used: 0,
  ...changes,
})

function trialOf(credits: Credits | undefined, changes: Partial<Claim> = {}): Claim {
  const user = credits?.user ?? payer
  const pass = passOf({ payer: user })
  return claimOf({
    payer: { kind: 'trial', address: user, pass },
    grant: undefined,
    credits,
    priceUsdc: usdc(0n),
    policy: undefined,
    ...changes,
  })
}

async function make(ledger: Ledger, credits: Credits): Promise<void> {
  const claim = trialOf(credits)
  await reserve(ledger, claim).charge(receiptOf(claim))
}

const usedOf = (ledger: Ledger, credits: Credits): number =>
  ledger.uncounted(() => ({ ...credits, used: 0 }))[0]?.calls ?? 0

test('six calls at once on five credits: exactly five are reserved, and one that fails gives its credit back', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const credits = creditsOf(5)
  const results = Array.from({ length: 6 }, () => ledger.reserve(trialOf(credits)))
  const reserved = results.flatMap((result) => (result.kind === 'reserved' ? [result.reservation] : []))
  const refused = results.flatMap((result) => (result.kind === 'refused' ? [result.error] : []))
  expect(reserved).toHaveLength(5)
  expect(refused).toMatchObject([{ code: 'credits_exhausted', details: { granted: 5, used: 5 } }])
  reserved[0]?.release()
  await make(ledger, credits)
  expect(ledger.reserve(trialOf(credits)).kind).toBe('refused')
  expect(ledger.reserve(trialOf(creditsOf(6))).kind).toBe('reserved')
})

test('without credits there is no trial, and what others have is not shared', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  expect(ledger.reserve(trialOf(undefined))).toMatchObject({ error: { code: 'credits_exhausted' } })
  await make(ledger, creditsOf(1))
  const other = creditsOf(1, { user: addressOf(0xcafe) })
  expect(ledger.reserve(trialOf(other)).kind).toBe('reserved')
})

test.each([
  [{ validBefore: 1 }, 'pass_expired'],
  [{ validAfter: 2_000_000_000 }, 'pass_invalid'],
  [{ providers: [addressOf(9)] }, 'pass_not_for_provider'],
  [{ deployment: `0x${'11'.repeat(32)}` as Hex }, 'pass_not_for_deployment'],
])('a pass makes trial calls only where and when it holds: %o', async (changes, code) => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const pass = passOf(changes)
  const claim = trialOf(creditsOf(5), { payer: { kind: 'trial', address: payer, pass } })
  expect(ledger.reserve(claim)).toMatchObject({ kind: 'refused', error: { code } })
})

test('a pass that may spend nothing makes trial calls, and they take nothing of what it may spend', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const pass = passOf({ maxSpend: usdc(0n), maxPricePerCall: usdc(0n) })
  const claim = trialOf(creditsOf(5), { payer: { kind: 'trial', address: payer, pass } })
  await reserve(ledger, claim).charge(receiptOf(claim))
  const once = passOf({ maxSpend: usdc(500n) })
  await make(ledger, creditsOf(5))
  await chargeCall(ledger, { payer: { kind: 'pass', address: payer, pass: once } })
})

test('trial calls and money of one payer have nothing to do with each other', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const credits = creditsOf(3)
  await make(ledger, credits)
  await chargeCall(ledger)
  await make(ledger, credits)
  expect(ledger.unsettled(() => grantOf())).toMatchObject([{ payer, amountUsdc: 500n, calls: 1 }])
  expect(ledger.uncounted(() => credits)).toMatchObject([{ payer, calls: 2 }])
})

test('what the chain has counted is used, whatever was lost here, if it is proved', async () => {
  using dir = createTempDir()
  const proofs = { find: () => ({ spentUsdc: usdc(0n), calls: 3 }), seek: () => undefined }
  await using ledger = await openLedger(
    { clock: systemClock, log: createTestLog(), proofs },
    { dir: dir.path, account: providerAccount, market },
    never,
  )
  const unproved = ledger.reserve(trialOf(creditsOf(5, { used: 4 })))
  expect(unproved).toMatchObject({ kind: 'refused', error: { code: 'chain_disputed' } })
  await make(ledger, creditsOf(5, { used: 3 }))
  await make(ledger, creditsOf(5, { used: 3 }))
  expect(ledger.reserve(trialOf(creditsOf(5, { used: 3 }))).kind).toBe('refused')
  expect(usedOf(ledger, creditsOf(5))).toBe(5)
})

test('a re-org that takes credits back leaves calls that nobody can count, and nothing is sent for them', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  for (let call = 0; call < 4; call += 1) await make(ledger, creditsOf(5))
  expect(ledger.uncounted(() => creditsOf(2))).toHaveLength(1)
  const batch = await ledger.batches.create({
    candidates: [{ ...ledger.uncounted(() => creditsOf(2))[0]!, granted: 2, used: 0 }],
    receiptsMax: 10,
  })
  expect(batch?.rows).toEqual([{ payer, amountUsdc: 0n, calls: 2, isTrial: true }])
  expect(await ledger.batches.readOpen()).toEqual([batch])
  expect(ledger.uncounted(() => creditsOf(2, { used: 2 }))).toEqual([])
  expect(ledger.uncounted(() => undefined)).toEqual([])
})

const users = [addressOf(0xaa1), addressOf(0xaa2)] as const

type Step =
  | { readonly kind: 'reserve'; readonly who: 0 | 1 }
  | { readonly kind: 'charge' | 'release'; readonly which: number }
  | { readonly kind: 'grant'; readonly who: 0 | 1; readonly calls: number }
  | { readonly kind: 'count' }
  | { readonly kind: 'restart' }

const who = fc.constantFrom(0 as const, 1 as const)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('reserve' as const), who }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('charge' as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('grant' as const), who, calls: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('count' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
)

test('in any order of events nobody has more than was granted, and no call is lost or counted twice', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      using dir = createTempDir()
      let ledger = await openTestLedger(dir.path)
      const chain = users.map((user) => creditsOf(2, { user })) as [Credits, Credits]
      const used: [number, number] = [0, 0]
      let inFlight: { readonly who: 0 | 1; readonly claim: Claim; readonly reservation: Reservation }[] = []
      const take = (which: number) => inFlight.splice(which % Math.max(1, inFlight.length), 1)
      const creditsNow = (user: string) => chain.find((credits) => credits.user === user)

      /** As the settler has it, and as the contract does: cumulative, and twice is once. */
      async function count(): Promise<void> {
        const candidates = ledger
          .uncounted(creditsNow)
          .map(({ credits: { granted, used }, ...lane }) => ({ ...lane, granted, used }))
        const batch = await ledger.batches.create({ candidates, receiptsMax: 100 })
        for (const { payer, calls } of [...(batch?.rows ?? []), ...(batch?.rows ?? [])]) {
          const at = users.indexOf(payer)
          const before = chain[at as 0 | 1]
          expect(calls).toBeLessThanOrEqual(before.granted)
          chain[at as 0 | 1] = { ...before, used: Math.max(before.used, calls) }
        }
        if (batch) await ledger.batches.saveState(batch.id, 'final')
      }

      for (const next of steps) {
        if (next.kind === 'reserve') {
          const claim = trialOf(chain[next.who])
          const mine = inFlight.filter((call) => call.who === next.who).length
          const result = ledger.reserve(claim)
          expect(result.kind).toBe(used[next.who] + mine < chain[next.who].granted ? 'reserved' : 'refused')
          if (result.kind === 'reserved')
            inFlight.push({ who: next.who, claim, reservation: result.reservation })
        } else if (next.kind === 'charge') {
          for (const call of take(next.which)) {
            await call.reservation.charge(receiptOf(call.claim))
            used[call.who] += 1
          }
        } else if (next.kind === 'release') for (const call of take(next.which)) call.reservation.release()
        else if (next.kind === 'grant') {
          const before = chain[next.who]
          chain[next.who] = { ...before, granted: before.granted + next.calls }
        } else if (next.kind === 'count') await count()
        else {
          await ledger[Symbol.asyncDispose]()
          inFlight = []
          ledger = await openTestLedger(dir.path)
        }
      }
      await count()
      expect(chain.map((credits) => credits.used)).toEqual(used)
      expect(ledger.uncounted(creditsNow)).toEqual([])
      await ledger[Symbol.asyncDispose]()
    }),
    { numRuns: 15 },
  )
})
