import { type Address, zeroAddress } from 'viem'

/**
 * The escrow once more, in TypeScript: numbers without bounds, plain maps, no packing. What it refuses, changes and
 * tells is compared with the contract, slot by slot and event by event.
 */

export interface ModelGrant {
  spent: bigint
  budget: bigint
  price: bigint
  calls: bigint
  expiry: bigint
  notice: bigint
  epoch: bigint
}

export interface ModelTerms {
  readonly provider: Address
  readonly signer: Address
  readonly price: bigint
  readonly budget: bigint
  readonly expiry: bigint
  readonly notice: bigint
}

/** A row of `settle`, or one of `redeem` with what was signed and by whom; zero if by nobody. */
export interface ModelRow {
  readonly payer: Address
  readonly amount: bigint
  readonly calls: bigint
  readonly voucher?: {
    readonly signer: Address
    readonly maxAmount: bigint
    readonly maxCalls: bigint
    readonly epoch: bigint
  }
}

export type ModelEvent = readonly [name: string, ...args: (Address | bigint)[]]

/** What the contract answers with a revert. */
export class Refusal extends Error {}

const skip = {
  grantMissing: 0n,
  nothingDue: 1n,
  priceAboveCap: 2n,
  budgetTooLow: 3n,
  signatureInvalid: 4n,
  epochOther: 5n,
  aboveVoucher: 6n,
} as const

export function createEscrowModel() {
  const balances = new Map<Address, bigint>()
  const grants = new Map<string, ModelGrant>()
  const balanceOf = (account: Address) => balances.get(account) ?? 0n

  function grantOf(payer: Address, provider: Address, signer: Address): ModelGrant {
    const key = payer + provider + signer
    const none = { spent: 0n, budget: 0n, price: 0n, calls: 0n, expiry: 0n, notice: 0n, epoch: 0n }
    const grant = grants.get(key) ?? none
    grants.set(key, grant)
    return grant
  }

  function move(account: Address, amount: bigint): bigint {
    const balance = balanceOf(account) + amount
    refuseIf(balance < 0n, 'BalanceTooLow')
    balances.set(account, balance)
    return balance
  }

  function openGrant(payer: Address, provider: Address, signer: Address): ModelGrant {
    const grant = grantOf(payer, provider, signer)
    refuseIf(grant.expiry === 0n, 'GrantMissing')
    return grant
  }

  /** @returns why a row is skipped, or what it is paid and for how many calls. */
  function decide(provider: Address, { payer, amount, calls, voucher }: ModelRow) {
    const grant = grantOf(payer, provider, voucher?.signer ?? zeroAddress)
    if (voucher?.signer === zeroAddress) return skip.signatureInvalid
    if (grant.expiry === 0n) return skip.grantMissing
    if (voucher && voucher.epoch !== grant.epoch) return skip.epochOther
    if (voucher && (amount > voucher.maxAmount || calls > voucher.maxCalls)) return skip.aboveVoucher
    if (amount <= grant.spent) return skip.nothingDue
    if (calls <= grant.calls) return skip.priceAboveCap
    const due = amount - grant.spent
    const newCalls = calls - grant.calls
    if (due > grant.price * newCalls) return skip.priceAboveCap
    return pay(grant, due, newCalls) ?? skip.budgetTooLow
  }

  function collect(provider: Address, rows: readonly ModelRow[]): ModelEvent[] {
    let total = 0n
    const events = rows.map((row, index): ModelEvent => {
      const { payer, voucher } = row
      const outcome = decide(provider, row)
      if (typeof outcome === 'bigint') return ['Skipped', payer, provider, BigInt(index), outcome]
      const grant = grantOf(payer, provider, voucher?.signer ?? zeroAddress)
      charge(grant, outcome)
      total += outcome.paid
      const usage = usageOf(grant, outcome.paid)
      if (!voucher) return ['Settled', payer, provider, usage]
      if (voucher.signer === payer) return ['Redeemed', payer, provider, usage]
      return ['RedeemedBySession', payer, provider, voucher.signer, usage]
    })
    return [...events, ['BatchSettled', provider, total, move(provider, total)]]
  }

  return {
    balanceOf,
    grantOf,
    /** What the token must hold. */
    held: () =>
      [...balances.values(), ...[...grants.values()].map(({ budget }) => budget)].reduce(
        (sum, part) => sum + part,
        0n,
      ),
    deposit(account: Address, amount: bigint): ModelEvent[] {
      refuseIf(amount === 0n, 'AmountZero')
      return [['Deposited', account, amount, move(account, amount)]]
    },
    withdraw(account: Address, amount: bigint): ModelEvent[] {
      refuseIf(amount === 0n, 'AmountZero')
      return [['Withdrawn', account, amount, move(account, -amount)]]
    },
    approve(payer: Address, terms: ModelTerms, now: bigint): ModelEvent[] {
      const { provider, signer, price, budget, expiry, notice } = terms
      const grant = grantOf(payer, provider, signer)
      refuseIf(price === 0n, 'PriceZero')
      refuseIf(expiry <= now, 'ExpiryPassed')
      refuseIf(notice === 0n, 'NoticeZero')
      refuseIf(price < grant.price || budget < grant.budget, 'TermsCut')
      refuseIf(expiry < grant.expiry || notice < grant.notice, 'TermsCut')
      const balance = move(payer, grant.budget - budget)
      Object.assign(grant, { price, budget, expiry, notice })
      const { epoch, spent, calls } = grant
      return [
        ['Approved', payer, provider, signer, price, budget, expiry, notice, epoch, spent, calls, balance],
      ]
    },
    revoke(payer: Address, provider: Address, signer: Address, now: bigint): ModelEvent[] {
      const grant = openGrant(payer, provider, signer)
      refuseIf(grant.expiry <= now, 'GrantEnded')
      grant.expiry = now
      return [['Revoked', payer, provider, signer, now]]
    },
    reclaim(payer: Address, provider: Address, signer: Address, now: bigint): ModelEvent[] {
      const grant = openGrant(payer, provider, signer)
      refuseIf(now < grant.expiry + grant.notice * 3600n, 'NoticeRunning')
      const { budget } = grant
      const epoch = grant.epoch + 1n
      Object.assign(grant, { budget: 0n, price: 0n, expiry: 0n, notice: 0n, epoch })
      return [['Reclaimed', payer, provider, signer, budget, epoch, move(payer, budget)]]
    },
    consume(provider: Address, payer: Address, price: bigint): ModelEvent[] {
      refuseIf(price === 0n, 'PriceZero')
      const grant = openGrant(payer, provider, zeroAddress)
      refuseIf(price > grant.price, 'PriceAboveCap')
      refuseIf(price > grant.budget, 'BudgetTooLow')
      charge(grant, { paid: price, paidCalls: 1n })
      return [['Consumed', payer, provider, usageOf(grant, price), move(provider, price)]]
    },
    collect,
  }
}

interface Payment {
  readonly paid: bigint
  readonly paidCalls: bigint
}

/** By trying: the most that the budget covers, such that the rest stays within the price of the calls left. */
function pay({ budget, price }: ModelGrant, due: bigint, newCalls: bigint): Payment | undefined {
  if (due <= budget) return { paid: due, paidCalls: newCalls }
  for (let paid = budget; paid > 0n; paid -= 1n) {
    const paidCalls = (paid + price - 1n) / price
    if (due - paid <= price * (newCalls - paidCalls)) return { paid, paidCalls }
  }
  return undefined
}

function charge(grant: ModelGrant, { paid, paidCalls }: Payment): void {
  grant.spent += paid
  grant.budget -= paid
  grant.calls += paidCalls
}

const usageOf = ({ spent, budget, calls }: ModelGrant, paid: bigint) =>
  spent | (budget << 64n) | (paid << 128n) | (calls << 192n)

/** The one storage slot of a grant. */
export const slotOf = ({ spent, budget, price, calls, expiry, notice, epoch }: ModelGrant) =>
  spent |
  (budget << 64n) |
  (price << 128n) |
  (calls << 168n) |
  (expiry << 200n) |
  (notice << 232n) |
  (epoch << 248n)

function refuseIf(refused: boolean, error: string): void {
  if (refused) throw new Refusal(error)
}
