import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addressOf, claimOf, createTestSigner, market, provider, receiptOf } from '../test/support/money.ts'
import type { Outcome } from './call.ts'
import { createMerkleTree } from './merkle.ts'
import { receiptLeaf } from './receipt.ts'
import { checkReceipts, type KeptReceipt } from './receipt-evidence.ts'
import type { CountedPayer } from './reputation.ts'
import { tallyReceipts } from './reputation-receipts.ts'
import { usdc } from './usdc.ts'

const signer = await createTestSigner()
const [ann, ben, zed] = [addressOf(3), addressOf(4), addressOf(5)]
const payers = new Map<`0x${string}`, CountedPayer>([
  [ann, { counted: 900n, calls: 3 }],
  [ben, { counted: 100n, calls: 1 }],
])

const receipt = (changes: Partial<ReturnType<typeof receiptOf>> = {}) =>
  receiptOf(claimOf(), { payer: ann, ...changes })
const failed = (outcome: Outcome, payer = ann) =>
  receipt({ payer, outcome, priceUsdc: usdc(0n), status: 502 })

/** As its payer has it: signed, alone. */
function sign(one: ReturnType<typeof receipt>): KeptReceipt {
  return {
    receipt: one,
    signed: { market, receipt: one, path: [], ...signer.sign(receiptLeaf(one)) },
    proof: undefined,
  }
}

/** As the provider shows it once it has settled. */
function settle(receipts: readonly ReturnType<typeof receipt>[]) {
  const tree = createMerkleTree(receipts.map(receiptLeaf))
  const kept = receipts.map(
    (one, index): KeptReceipt => ({ receipt: one, signed: undefined, proof: tree.proof(index) }),
  )
  return { kept, root: tree.root }
}

test('receipts count by a signature or by a root on the chain; forged, foreign and doubled ones are refused', async () => {
  const { kept, root } = settle([receipt(), receipt({ durationMs: 40 }), receipt({ payer: ben })])
  const [first, second, third] = kept as [KeptReceipt, KeptReceipt, KeptReceipt]
  const scope = { provider, market, roots: new Set([root]) }
  const fault = sign(failed('platform_fault'))
  const all = [...kept, fault, sign(first.receipt)]
  const honest = await checkReceipts(all, scope)
  expect(honest.refused).toEqual({ foreign: 0, forged: 0, duplicate: 1 })
  expect(honest.receipts).toHaveLength(4)
  expect(honest.receipts.filter(({ isRooted }) => isRooted)).toHaveLength(3)

  const signed = fault.signed as NonNullable<KeptReceipt['signed']>
  const cheaper = { ...fault.receipt, outcome: 'answered' as const }
  const forged: KeptReceipt[] = [
    { ...first, proof: undefined },
    { ...first, proof: [...(first.proof ?? []), root] },
    { ...second, proof: third.proof },
    { ...first, receipt: { ...first.receipt, durationMs: 1 } },
    // Another receipt beside a signature, and another one within it.
    { ...fault, receipt: cheaper },
    { ...fault, receipt: cheaper, signed: { ...signed, receipt: cheaper } },
    { ...fault, signed: { ...signed, key: { ...signed.key, delegation: `0x${'11'.repeat(65)}` } } },
    { ...fault, signed: { ...signed, key: { ...signed.key, validBefore: 1 } } },
  ]
  const late = receipt({ startedAt: 2 ** 33 * 1000 })
  forged.push(sign(late))
  const foreign: KeptReceipt[] = [
    sign(receipt({ provider: zed })),
    { ...fault, signed: { ...signed, market: { ...market, chainId: 1 } } },
    { ...fault, signed: { ...signed, market: { ...market, escrow: zed } } },
  ]
  const refused = await checkReceipts([...forged, ...all, ...foreign], scope)
  expect(refused.refused).toEqual({ foreign: foreign.length, forged: forged.length, duplicate: 1 })
  expect(refused.receipts).toEqual(honest.receipts)
  expect((await checkReceipts(kept, { ...scope, roots: new Set() })).refused.forged).toBe(3)
})

test('a provider that says two things of one call has said neither, and is known by it', async () => {
  const one = receipt()
  const other = { ...one, durationMs: 1 }
  const scope = { provider, market, roots: new Set<never>() }
  const checked = await checkReceipts([sign(one), sign(other), sign(receipt())], scope)
  expect([checked.contradictions, checked.receipts.length]).toEqual([1, 1])
})

test('whatever the order in which receipts come, they come to the same', async () => {
  const outcomes: Outcome[] = [
    'answered',
    'caller_gone',
    'platform_fault',
    'program_timeout',
    'program_crashed',
  ]
  const some = fc.record({
    outcome: fc.constantFrom(...outcomes),
    payer: fc.constantFrom(ann, ben, zed),
    isFree: fc.boolean(),
    durationMs: fc.nat(50),
    startedAt: fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_003 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(some, { maxLength: 12 }), fc.infiniteStream(fc.nat()), async (list, dice) => {
      const { kept, root } = settle(
        list.map(({ isFree, ...rest }) => receipt({ ...rest, priceUsdc: usdc(isFree ? 0n : 500n) })),
      )
      const scope = { provider, market, roots: new Set([root]) }
      const shuffled = kept
        .map((one) => [dice.next().value, one] as const)
        .sort(([a], [b]) => Number(a) - Number(b))
        .map(([, one]) => one)
      const [straight, mixed] = [await checkReceipts(kept, scope), await checkReceipts(shuffled, scope)]
      expect(mixed).toEqual(straight)
      const tally = tallyReceipts(payers, mixed.receipts)
      expect(tally).toEqual(tallyReceipts(payers, straight.receipts))
      const { answered, failures, timeouts, programFaults, outvoted, unused } = tally
      const used = answered + failures + timeouts + programFaults + outvoted
      expect(used + Object.values(unused).reduce((a, b) => a + b, 0)).toBe(list.length)
      expect(tally.failureShareMilli >= 0n && tally.failureShareMilli < 1000n).toBe(true)
    }),
    { numRuns: 40 },
  )
})

const proven = (one: ReturnType<typeof receipt>, isRooted = one.priceUsdc > 0n) => ({
  receipt: one,
  leaf: receiptLeaf(one),
  isRooted,
})

test('what receipts show: faults of the provider, of programs, and of the votes, each on its own', () => {
  const tally = tallyReceipts(payers, [
    ...[10, 30, 20].map((durationMs) => proven(receipt({ durationMs }))),
    proven(failed('platform_fault')),
    proven(failed('program_timeout')),
    proven(failed('program_out_of_memory')),
    proven(failed('outvoted')),
    // None of these says anything: a payer that does not count, one that is not settled, a trial.
    proven(failed('platform_fault', zed)),
    proven(receipt(), false),
    proven(receipt({ priceUsdc: usdc(0n) })),
  ])
  expect(tally).toEqual({
    ...{ answered: 3, failures: 1, timeouts: 1, programFaults: 1, outvoted: 1 },
    // One of four of ann's, who paid nine tenths.
    failureShareMilli: 225n,
    latency: { medianMs: 20, p95Ms: 30 },
    unused: { payerExcluded: 1, unsettled: 1, surplus: 0, trial: 1 },
  })
  expect(tallyReceipts(payers, []).latency).toEqual({ medianMs: null, p95Ms: null })
})

test('a provider cannot make up more calls than the chain says that it was paid for', () => {
  const early = receipt({ startedAt: 1, durationMs: 9_000 })
  const made = Array.from({ length: 50 }, (_, index) => receipt({ startedAt: 100 + index, durationMs: 1 }))
  const tally = tallyReceipts(
    payers,
    [...made, early].map((one) => proven(one)),
  )
  expect([tally.answered, tally.unused.surplus, tally.latency.p95Ms]).toEqual([3, 48, 9_000])
})

test('who paid little moves the share of failures little, however many calls it has fail', () => {
  const flood = Array.from({ length: 200 }, () => proven(failed('platform_fault', ben)))
  expect(tallyReceipts(payers, flood).failureShareMilli).toBe(99n)
})
