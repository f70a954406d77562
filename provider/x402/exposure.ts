import type { Address } from 'viem'
import { addUsdc, subtractUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'

/** What payers owe by payments that no block has yet. A wallet is worth its balance less that. */
export interface Exposure {
  /** Payments in it. */
  readonly size: number
  /**
   * Adds a payment. What is read of the chain afterwards may or may not know the earlier ones, so all of them count.
   *
   * @returns what the wallet must hold to cover this one too, and what takes it out again
   */
  add(payer: Address, amountUsdc: Usdc): { readonly neededUsdc: Usdc; readonly remove: () => void }
}

export function createExposure(): Exposure {
  const owed = new Map<Address, Usdc>()
  let size = 0
  return {
    get size() {
      return size
    },
    add(payer, amountUsdc) {
      const neededUsdc = addUsdc(owed.get(payer) ?? zeroUsdc, amountUsdc)
      owed.set(payer, neededUsdc)
      size += 1
      let isIn = true
      const remove = () => {
        if (!isIn) return
        isIn = false
        size -= 1
        const rest = subtractUsdc(owed.get(payer) ?? zeroUsdc, amountUsdc) ?? zeroUsdc
        if (rest === zeroUsdc) owed.delete(payer)
        else owed.set(payer, rest)
      }
      return { neededUsdc, remove }
    },
  }
}
