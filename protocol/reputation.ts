import type { Address } from 'viem'

/** Names the rules below; other rules get another name, so that two who differ know why. */
export const reputationFormula = 'khachapuri-reputation-1'

/** What the chain says until one block. All amounts are base units of USDC. */
export interface ReputationFacts {
  readonly provider: Address
  /** Of the provider's name. */
  readonly owner: Address
  /** What the provider collected, in the order of the chain. */
  readonly charges: readonly ReputationCharge[]
  /** In the order of the chain. */
  readonly ratings: readonly { readonly payer: Address; readonly score: number }[]
  /** What `provider` or `owner` sent to others, into their wallets or their escrow. */
  readonly gifts: readonly { readonly to: Address; readonly amount: bigint }[]
}

export interface ReputationCharge {
  readonly payer: Address
  /** Of the grant. */
  readonly signer: Address
  readonly paid: bigint
  /** Calls of that grant until then; it never falls. */
  readonly calls: number
}

/** The same from the same facts, to the last byte: whole numbers only. */
export interface Reputation {
  /** Calls of payers that count. */
  readonly calls: number
  /** Payers that count, and how many of equal size they come to, in thousandths: (Σc)² ÷ Σc². */
  readonly payers: number
  readonly effectivePayersMilli: bigint
  /** What all paid, and what of it counts. */
  readonly spent: bigint
  readonly counted: bigint
  /** Σ ⌊√c⌋: many who pay a little weigh more than one who pays a lot. */
  readonly weight: bigint
  readonly excluded: { readonly payers: number; readonly spent: bigint }
  /** Last ratings of payers that count; their mean by what counts, in thousandths of a point, of 0 to 100. */
  readonly ratings: { readonly count: number; readonly meanMilli: bigint | null }
}

/**
 * A payer counts for what it paid beyond what it had from the provider: c = max(0, paid − gifts), and for nothing where it is
 * the provider or owns its name.
 */
export function computeReputation(facts: ReputationFacts): Reputation {
  const { provider, owner } = facts
  const paidBy = new Map<Address, bigint>()
  const callsOf = new Map<Address, Map<Address, number>>()
  for (const { payer, signer, paid, calls } of facts.charges) {
    paidBy.set(payer, (paidBy.get(payer) ?? 0n) + paid)
    const lanes = callsOf.get(payer) ?? new Map<Address, number>()
    lanes.set(signer, Math.max(lanes.get(signer) ?? 0, calls))
    callsOf.set(payer, lanes)
  }
  const giftsTo = new Map<Address, bigint>()
  for (const { to, amount } of facts.gifts) giftsTo.set(to, (giftsTo.get(to) ?? 0n) + amount)

  const countedOf = new Map<Address, bigint>()
  for (const [payer, paid] of paidBy) {
    const counted = paid - (giftsTo.get(payer) ?? 0n)
    if (payer !== provider && payer !== owner && counted > 0n) countedOf.set(payer, counted)
  }
  const sum = (amounts: Iterable<bigint>) => [...amounts].reduce((total, one) => total + one, 0n)
  const spent = sum(paidBy.values())
  const counted = sum(countedOf.values())
  const squares = sum([...countedOf.values()].map((one) => one * one))
  const calls = [...countedOf.keys()].flatMap((payer) => [...(callsOf.get(payer)?.values() ?? [])])
  const excludedSpent = sum([...paidBy].map(([payer, paid]) => (countedOf.has(payer) ? 0n : paid)))

  const scoreOf = new Map<Address, number>()
  for (const { payer, score } of facts.ratings) if (countedOf.has(payer)) scoreOf.set(payer, score)
  const rated = sum([...scoreOf.keys()].map((payer) => countedOf.get(payer) ?? 0n))
  const points = sum([...scoreOf].map(([payer, score]) => BigInt(score) * (countedOf.get(payer) ?? 0n)))
  return {
    calls: calls.reduce((total, one) => total + one, 0),
    payers: countedOf.size,
    effectivePayersMilli: squares === 0n ? 0n : (counted * counted * 1000n) / squares,
    ...{ spent, counted },
    weight: sum([...countedOf.values()].map(squareRoot)),
    excluded: { payers: paidBy.size - countedOf.size, spent: excludedSpent },
    ratings: { count: scoreOf.size, meanMilli: rated === 0n ? null : (points * 1000n) / rated },
  }
}

/** ⌊√n⌋, by Newton's way from above. */
export function squareRoot(n: bigint): bigint {
  if (n < 2n) return n
  let root = 1n << BigInt(Math.ceil(n.toString(2).length / 2))
  for (;;) {
    const next = (root + n / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
