import fc from 'fast-check'
import { expect, test } from 'vitest'
import { grantOf, payer, provider } from '../test/support/money.ts'
import { limits } from './limits.ts'
import { type Usdc, usdc, zeroUsdc } from './usdc.ts'
import type { Correction, SignedVoucher, Voucher } from './voucher.ts'
import {
  beginCall,
  correctTab,
  decideHandOut,
  decideVoucher,
  endCall,
  keepSigned,
  openTab,
  type SpendRules,
  type VoucherTab,
} from './voucher-client.ts'

const price = usdc(500n)
const rules: SpendRules = { windowCalls: 10 }
const fresh = openTab({ ...grantOf(), signer: payer })
const first: VoucherTab = { ...fresh, isFresh: false }

const sign = (voucher: Voucher): SignedVoucher => ({ voucher, signer: payer, signature: '0x' })

/** Decides, signs and begins one call. */
function send(
  tab: VoucherTab,
  id: string,
  { quote = price, with: used = rules, sinceMs = 0 } = {},
): VoucherTab {
  const decision = decideVoucher(tab, quote, used)
  if (decision.kind === 'refuse') throw decision.error
  const ready = decision.kind !== 'use' ? keepSigned(tab, sign(decision.voucher)) : tab
  return beginCall(ready, { id, quoteUsdc: quote, sinceMs })
}

const charged = (amount: bigint, calls: number, priceUsdc: Usdc = price) =>
  ({ kind: 'charged', priceUsdc, totals: { amountUsdc: usdc(amount), calls } }) as const

const correctionOf = (changes: Partial<Correction> = {}): Correction => ({
  epoch: 0,
  accepted: undefined,
  chargedUsdc: zeroUsdc,
  chargedCalls: 0,
  owedUsdc: zeroUsdc,
  owedCalls: 0,
  ...changes,
})

test('a window of calls needs one signature, and the next window another', () => {
  let tab = first
  const signed = new Set<SignedVoucher | undefined>()
  for (let i = 0; i < 25; i += 1) {
    tab = send(tab, `${i}`)
    signed.add(tab.signed)
  }
  expect([...signed].map((one) => [one?.voucher.maxAmount, one?.voucher.maxCalls])).toEqual([
    [5_000n, 10],
    [10_000n, 20],
    [15_000n, 30],
  ])
})

test('a window in money ends with the money, and a dearer call is covered alone', () => {
  const narrow = { windowCalls: 10, windowUsdc: usdc(1_200n) }
  const tab = send(send(first, 'a', { with: narrow }), 'b', { with: narrow })
  expect(tab.signed?.voucher.maxAmount).toBe(1_200n)
  expect(send(tab, 'c', { with: narrow }).signed?.voucher.maxAmount).toBe(2_200n)
  expect(send(first, 'd', { with: narrow, quote: usdc(9_000n) }).signed?.voucher.maxAmount).toBe(9_000n)
})

test('nothing is signed above the cap of a session or of a call, and what came back counts again', () => {
  const capped = { ...rules, maxSpendUsdc: usdc(1_200n), maxPriceUsdc: usdc(600n) }
  let tab = send(first, 'a', { with: capped })
  expect(tab.signed?.voucher.maxAmount).toBe(1_200n)
  tab = send(tab, 'b', { with: capped })
  expect(decideVoucher(tab, price, capped)).toMatchObject({
    kind: 'refuse',
    error: { code: 'spend_cap_reached' },
  })
  tab = endCall(tab, 'b', { kind: 'free', totals: undefined })
  expect(decideVoucher(tab, price, capped).kind).toBe('use')
  expect(decideVoucher(first, usdc(601n), capped)).toMatchObject({ error: { code: 'price_above_cap' } })
})

test.each([
  ['more money than was called for', charged(1_001n, 2)],
  ['more calls than were made', charged(1_000n, 3)],
  ['a higher price than was quoted', charged(501n, 1, usdc(501n))],
])('a provider that claims %s is signed for no more', (_what, end) => {
  const tab = endCall(send(send(first, 'a'), 'b'), 'a', end)
  expect(tab.broken).toBeDefined()
  expect(decideVoucher(tab, price, rules)).toMatchObject({
    kind: 'refuse',
    error: { code: 'accounts_differ' },
  })
})

test('a call that cost nothing cannot be claimed later', () => {
  let tab = send(send(first, 'a'), 'b')
  tab = endCall(tab, 'a', { kind: 'free', totals: { amountUsdc: zeroUsdc, calls: 0 } })
  expect(endCall(tab, 'b', charged(500n, 1)).broken).toBeUndefined()
  expect(endCall(tab, 'b', charged(1_000n, 2)).broken).toBeDefined()
})

test('a call whose end was lost may be charged or not, until it is too old', () => {
  let tab = endCall(send(first, 'lost'), 'lost', { kind: 'unknown' })
  tab = send(tab, 'a', { sinceMs: 1 })
  expect(endCall(tab, 'a', charged(1_000n, 2)).broken).toBeUndefined()
  tab = endCall(tab, 'a', charged(500n, 1))
  expect(tab.most.amountUsdc).toBe(1_000n)
  tab = send(tab, 'b', { sinceMs: limits.voucherDoubtMs })
  tab = endCall(tab, 'b', charged(1_000n, 2))
  expect(tab.most).toEqual({ amountUsdc: 1_000n, calls: 2 })
})

test('a client without a memory goes on from its own voucher, as far as that was promised', () => {
  const accepted = sign({ payer, provider, maxAmount: usdc(5_000n), maxCalls: 10, epoch: 0 })
  const state = { accepted, chargedUsdc: usdc(2_000n), chargedCalls: 4, owedUsdc: usdc(2_500n), owedCalls: 5 }
  const tab = fresh
  expect(decideVoucher(tab, price, rules)).toMatchObject({
    kind: 'probe',
    voucher: { maxAmount: 0n, maxCalls: 0 },
  })
  const verdict = correctTab(tab, 'a', { correction: correctionOf(state), isSigned: true })
  expect(verdict).toMatchObject({ kind: 'resume', tab: { most: { amountUsdc: 2_500n, calls: 5 } } })
  const resumed = verdict.kind === 'resume' ? verdict.tab : tab
  expect(decideVoucher(resumed, price, rules)).toMatchObject({ kind: 'use', signed: accepted })

  const lies: [Partial<Correction>, boolean][] = [
    [state, false],
    [{ ...state, owedUsdc: usdc(5_001n) }, true],
    [{ ...state, owedCalls: 11 }, true],
    [{ ...state, chargedUsdc: usdc(2_501n) }, true],
    [{ ...state, accepted: { ...accepted, voucher: { ...accepted.voucher, epoch: 1 } } }, true],
    [{ ...state, accepted: { ...accepted, voucher: { ...accepted.voucher, provider: payer } } }, true],
    [{ chargedUsdc: usdc(1n), chargedCalls: 1 }, true],
  ]
  for (const [changes, isSigned] of lies) {
    const refused = correctTab(tab, 'a', { correction: correctionOf(changes), isSigned })
    expect(refused.kind).toBe('refuse')
  }
})

test('a client that really is new begins where the chain is', () => {
  const atChain = { spentUsdc: usdc(700n), calls: 2 }
  const tab = openTab({ ...grantOf(), ...atChain, signer: payer })
  const state = { chargedUsdc: usdc(700n), chargedCalls: 2, owedUsdc: usdc(700n), owedCalls: 2 }
  const verdict = correctTab(tab, 'a', { correction: correctionOf(state), isSigned: false })
  expect(verdict).toMatchObject({
    kind: 'resume',
    tab: { isFresh: false, most: { amountUsdc: 700n, calls: 2 } },
  })
  const claim = { ...state, owedUsdc: usdc(701n) }
  expect(correctTab(tab, 'a', { correction: correctionOf(claim), isSigned: false }).kind).toBe('refuse')
})

test('a client that remembers believes no more than it remembers', () => {
  const tab = send(first, 'a')
  const accepted = tab.signed as SignedVoucher
  const honest = correctTab(tab, 'a', { correction: correctionOf({ accepted }), isSigned: true })
  expect(honest.kind).toBe('resume')
  const claim = { accepted, chargedUsdc: usdc(500n), chargedCalls: 1, owedUsdc: usdc(500n), owedCalls: 1 }
  expect(correctTab(tab, 'a', { correction: correctionOf(claim), isSigned: true }).kind).toBe('refuse')
})

test('another epoch is a matter for the chain', () => {
  const verdict = correctTab(send(first, 'a'), 'a', {
    correction: correctionOf({ epoch: 1 }),
    isSigned: false,
  })
  expect(verdict).toEqual({ kind: 'grant_changed', epoch: 1 })
})

test('what was handed out may be claimed from then on, and not a call more', () => {
  const decision = decideHandOut(first, { calls: 3, quoteUsdc: price }, rules)
  if (decision.kind === 'refuse') throw decision.error
  expect(decision.voucher).toMatchObject({ maxAmount: 1_500n, maxCalls: 3 })
  const given = keepSigned(decision.tab, sign(decision.voucher))
  const tab = send(given, 'a')
  expect(tab.signed?.voucher.maxCalls).toBeGreaterThan(3)
  expect(endCall(tab, 'a', charged(2_000n, 4)).broken).toBeUndefined()
  expect(endCall(tab, 'a', charged(2_001n, 4)).broken).toBeDefined()
  // Also once the provider has said that little of it was used.
  const later = send(endCall(tab, 'a', charged(500n, 1)), 'b')
  expect(endCall(later, 'b', charged(2_000n, 4)).broken).toBeUndefined()
  // And where a call that was under way then cost nothing.
  const before = decideHandOut(send(first, 'c'), { calls: 3, quoteUsdc: price }, rules)
  if (before.kind === 'refuse') throw before.error
  const free = endCall(keepSigned(before.tab, sign(before.voucher)), 'c', { kind: 'free', totals: undefined })
  expect(endCall(send(free, 'd'), 'd', charged(2_500n, 5)).broken).toBeUndefined()
  // A client that knows nothing yet has handed it out all the same.
  const early = decideHandOut(fresh, { calls: 3, quoteUsdc: price }, rules)
  if (early.kind === 'refuse') throw early.error
  const probed = correctTab(early.tab, 'e', { correction: correctionOf(), isSigned: false })
  expect(probed).toMatchObject({ kind: 'resume', tab: { most: { amountUsdc: 1_500n, calls: 3 } } })
  const broken = { ...first, broken: 'it lied' }
  expect(decideHandOut(broken, { calls: 1, quoteUsdc: price }, rules)).toMatchObject({
    error: { code: 'accounts_differ' },
  })
})

/** Any order of calls and ends, at a provider that adds plainly. */
const step = fc.oneof(
  fc.record({ kind: fc.constant('send' as const), quote: fc.integer({ min: 1, max: 900 }) }),
  fc.record({ kind: fc.constant('charge' as const), which: fc.nat(20), discount: fc.nat(900) }),
  fc.record({ kind: fc.constant('free' as const), which: fc.nat(20) }),
  fc.record({ kind: fc.constant('lose' as const), which: fc.nat(20), isCharged: fc.boolean() }),
  fc.record({ kind: fc.constant('hand out' as const), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({ kind: fc.constant('use' as const) }),
)

test('with an honest provider accounts never differ, and no promise goes beyond a window of what was called for', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 20 }), (steps, windowCalls) => {
      let tab = first
      let [spent, calls, sent] = [0n, 0, 0]
      const open: { id: string; quote: bigint }[] = []
      let given: Voucher | undefined
      for (const next of steps) {
        if (next.kind === 'send') {
          sent += 1
          tab = send(tab, `${sent}`, { quote: usdc(BigInt(next.quote)), with: { windowCalls } })
          open.push({ id: `${sent}`, quote: BigInt(next.quote) })
          const promised = tab.signed?.voucher.maxAmount ?? 0n
          expect(promised).toBeGreaterThanOrEqual(tab.most.amountUsdc)
          expect(tab.most.amountUsdc).toBeGreaterThanOrEqual(spent)
          continue
        }
        if (next.kind === 'hand out') {
          const decision = decideHandOut(tab, { calls: next.count, quoteUsdc: price }, rules)
          if (decision.kind === 'refuse') throw decision.error
          given = decision.voucher
          sent += next.count
          tab = keepSigned(decision.tab, sign(given))
          continue
        }
        if (next.kind === 'use') {
          // Somebody else's call, of which this client hears nothing, as far as the provider takes it.
          const owed = open.reduce((sum, { quote }) => sum + quote, spent)
          if (given && owed + price <= given.maxAmount && calls + open.length < given.maxCalls)
            [spent, calls] = [spent + price, calls + 1]
          continue
        }
        const [call] = open.splice(next.which % Math.max(1, open.length), 1)
        if (!call) continue
        const cost =
          next.kind === 'charge' && call.quote > next.discount
            ? call.quote - BigInt(next.discount)
            : call.quote
        const isCharged = next.kind === 'charge' || (next.kind === 'lose' && next.isCharged)
        if (isCharged) [spent, calls] = [spent + cost, calls + 1]
        const totals = { amountUsdc: usdc(spent), calls }
        if (next.kind === 'charge')
          tab = endCall(tab, call.id, { kind: 'charged', priceUsdc: usdc(cost), totals })
        else if (next.kind === 'free') tab = endCall(tab, call.id, { kind: 'free', totals })
        else tab = endCall(tab, call.id, { kind: 'unknown' })
        expect(tab.broken).toBeUndefined()
        expect(tab.signed?.voucher.maxAmount).toBeLessThanOrEqual(BigInt(sent + windowCalls) * 900n)
      }
    }),
    { numRuns: 200 },
  )
})
