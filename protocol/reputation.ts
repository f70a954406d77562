import type { Address } from 'viem'

/** Names the rules below and those of `reputation-receipts.ts`; other rules get another name, so that two who differ know why. */
export const reputationFormula = 'khachapuri-reputation-2'

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
  /** Last ratings of payers that count; their mean by what counts, in thousandths of a point, of 0 to 100; what they paid. */
  readonly ratings: { readonly count: number; readonly meanMilli: bigint | null; readonly counted: bigint }
}

/** A payer that counts. */
export interface CountedPayer {
  /** What it paid beyond what it had from the provider; more than zero. */
  readonly counted: bigint
  /** That were charged to its grants. */
  readonly calls: number
}

/**
 * A payer counts for what it paid beyond what it had from the provider: c = max(0, paid − gifts), and for nothing where it is
 * the provider or owns its name.
 */
export function countPayers(facts: ReputationFacts): Map<Address, CountedPayer> {
  const { provider, owner } = facts
  const paidBy = sumPaid(facts)
  const callsOf = new Map<Address, Map<Address, number>>()
  for (const { payer, signer, calls } of facts.charges) {
    const lanes = callsOf.get(payer) ?? new Map<Address, number>()
    lanes.set(signer, Math.max(lanes.get(signer) ?? 0, calls))
    callsOf.set(payer, lanes)
  }
  const giftsTo = new Map<Address, bigint>()
  for (const { to, amount } of facts.gifts) giftsTo.set(to, (giftsTo.get(to) ?? 0n) + amount)

  const found = new Map<Address, CountedPayer>()
  for (const [payer, paid] of paidBy) {
    const counted = paid - (giftsTo.get(payer) ?? 0n)
    if (payer === provider || payer === owner || counted <= 0n) continue
    const calls = [...(callsOf.get(payer)?.values() ?? [])].reduce((total, one) => total + one, 0)
    found.set(payer, { counted, calls })
  }
  return found
}

export function computeReputation(facts: ReputationFacts, payers = countPayers(facts)): Reputation {
  const paidBy = sumPaid(facts)
  const amounts = [...payers.values()].map(({ counted }) => counted)
  const counted = sum(amounts)
  const squares = sum(amounts.map((one) => one * one))
  const scoreOf = new Map<Address, number>()
  for (const { payer, score } of facts.ratings) if (payers.has(payer)) scoreOf.set(payer, score)
  const weigh = (payer: Address) => payers.get(payer)?.counted ?? 0n
  const rated = sum([...scoreOf.keys()].map(weigh))
  const points = sum([...scoreOf].map(([payer, score]) => BigInt(score) * weigh(payer)))
  return {
    calls: [...payers.values()].reduce((total, { calls }) => total + calls, 0),
    payers: payers.size,
    effectivePayersMilli: squares === 0n ? 0n : (counted * counted * 1000n) / squares,
    spent: sum(paidBy.values()),
    counted,
    weight: sum(amounts.map(squareRoot)),
    excluded: {
      payers: paidBy.size - payers.size,
      spent: sum([...paidBy].map(([payer, paid]) => (payers.has(payer) ? 0n : paid))),
    },
    ratings: {
      count: scoreOf.size,
      meanMilli: rated === 0n ? null : (points * 1000n) / rated,
      counted: rated,
    },
  }
}

/**
 * The same facts in less space, where more are to be added later: one charge for each grant, one gift for each account, the last
 * rating of each payer. What is computed from them is the same.
 */
export function compactFacts({ charges, ratings, gifts, ...parties }: ReputationFacts): ReputationFacts {
  const grants = new Map<string, ReputationCharge>()
  for (const charge of charges) {
    const key = `${charge.payer} ${charge.signer}`
    const known = grants.get(key)
    grants.set(key, {
      ...charge,
      paid: charge.paid + (known?.paid ?? 0n),
      calls: Math.max(charge.calls, known?.calls ?? 0),
    })
  }
  const given = new Map<Address, bigint>()
  for (const { to, amount } of gifts) given.set(to, (given.get(to) ?? 0n) + amount)
  return {
    ...parties,
    charges: [...grants.values()],
    ratings: [...new Map(ratings.map((rating) => [rating.payer, rating])).values()],
    gifts: [...given].map(([to, amount]) => ({ to, amount })),
  }
}

function sumPaid({ charges }: ReputationFacts): Map<Address, bigint> {
  const paidBy = new Map<Address, bigint>()
  for (const { payer, paid } of charges) paidBy.set(payer, (paidBy.get(payer) ?? 0n) + paid)
  return paidBy
}

const sum = (amounts: Iterable<bigint>): bigint => [...amounts].reduce((total, one) => total + one, 0n)

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
