import type { Address, Hash } from 'viem'
import type { AccountEvent, GrantParties } from '../../protocol/chain/account-events.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'

/** What an account has in the escrow, added up from what happened to it. */
export interface AccountBook {
  /** Takes the next event in. Whatever does not add up is a difference; the chain is right. */
  apply(event: AccountEvent): Step
  readonly freeUsdc: bigint
  /** Of all its grants together. */
  readonly reservedUsdc: bigint
  /** The account's own grants that were ever made. */
  grants(): Iterable<GrantBook>
  /** The number of a grant now: of the account's own, or of one for it. */
  epochOf(parties: GrantParties): number
}

export interface GrantBook extends GrantParties {
  spentUsdc: Usdc
  budgetUsdc: Usdc
}

/** What one event came to. */
export interface Step {
  /** By how much the account's money in the escrow became more or less; free and reserved together. */
  readonly amountUsdc: bigint
  readonly differences: readonly Difference[]
}

/** Two sums that should be one. */
export interface Difference {
  /** What was added up, for people. */
  readonly what: string
  readonly statedUsdc: bigint
  readonly chainUsdc: bigint
  readonly transaction?: Hash
}

export function createAccountBook(account: Address): AccountBook {
  const grants = new Map<string, GrantBook>()
  const epochs = new Map<string, number>()
  let freeUsdc = 0n
  let reservedUsdc = 0n

  function grantOf({ payer, provider, signer }: GrantParties): GrantBook {
    const key = provider + signer
    const grant = grants.get(key) ?? {
      ...{ payer, provider, signer },
      spentUsdc: zeroUsdc,
      budgetUsdc: zeroUsdc,
    }
    grants.set(key, grant)
    return grant
  }

  function setBudget(grant: GrantBook, budgetUsdc: Usdc): void {
    reservedUsdc += budgetUsdc - grant.budgetUsdc
    grant.budgetUsdc = budgetUsdc
  }

  return {
    apply(event) {
      const differences: Difference[] = []
      const { transaction } = event
      const compare = (what: string, statedUsdc: bigint, chainUsdc: bigint) => {
        if (statedUsdc !== chainUsdc) differences.push({ what, statedUsdc, chainUsdc, transaction })
      }
      const setFree = (statedUsdc: bigint, chainUsdc: Usdc) => {
        compare('free', statedUsdc, chainUsdc)
        freeUsdc = chainUsdc
      }
      const heldUsdc = freeUsdc + reservedUsdc
      switch (event.kind) {
        case 'deposited':
          setFree(freeUsdc + event.amountUsdc, event.balanceUsdc)
          break
        case 'withdrawn':
          setFree(freeUsdc - event.amountUsdc, event.balanceUsdc)
          break
        case 'approved': {
          epochs.set(epochKey(event), event.epoch)
          if (event.payer !== account) break
          const grant = grantOf(event)
          compare('spent', grant.spentUsdc, event.spentUsdc)
          setFree(freeUsdc - (event.budgetUsdc - grant.budgetUsdc), event.balanceUsdc)
          grant.spentUsdc = event.spentUsdc
          setBudget(grant, event.budgetUsdc)
          break
        }
        case 'reclaimed': {
          epochs.set(epochKey(event), event.epoch)
          if (event.payer !== account) break
          const grant = grantOf(event)
          compare('budget', grant.budgetUsdc, event.amountUsdc)
          setFree(freeUsdc + event.amountUsdc, event.balanceUsdc)
          setBudget(grant, zeroUsdc)
          break
        }
        case 'settled':
        case 'redeemed':
        case 'consumed': {
          if (event.payer !== account) break
          const grant = grantOf(event)
          const { paidUsdc, spentUsdc, budgetUsdc } = event.usage
          compare('spent', grant.spentUsdc + paidUsdc, spentUsdc)
          compare('budget', grant.budgetUsdc - paidUsdc, budgetUsdc)
          grant.spentUsdc = spentUsdc
          setBudget(grant, budgetUsdc)
          break
        }
        case 'collected':
          setFree(freeUsdc + event.paidUsdc, event.balanceUsdc)
          break
        default:
      }
      return { amountUsdc: freeUsdc + reservedUsdc - heldUsdc, differences }
    },
    get freeUsdc() {
      return freeUsdc
    },
    get reservedUsdc() {
      return reservedUsdc
    },
    grants: () => grants.values(),
    epochOf: (parties) => epochs.get(epochKey(parties)) ?? 0,
  }
}

const epochKey = ({ payer, provider, signer }: GrantParties) => payer + provider + signer
