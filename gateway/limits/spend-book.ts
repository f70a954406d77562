import { z } from 'zod'
import { limits } from '../../protocol/limits.ts'
import { type QuotaName, quotaNames } from './quota.ts'

/** How many tokens were taken of one quota for one key: a client, a provider, a deployment. */
export type Spend = readonly [name: QuotaName, key: string, tokens: number]

/** Spends as another gateway tells them. */
export const spendsSchema: z.ZodType<readonly Spend[]> = z
  .array(
    z.tuple([
      z.enum(quotaNames),
      z.string().max(limits.spendKeyCharsMax),
      z.int().min(1).max(limits.spendTokensMax),
    ]),
  )
  .max(limits.spendsToldMax)

/** What several gateways, or the processes of one, tell each other, so that a quota holds over all of them. */
export interface SharedQuotas {
  /** What was taken here since it was asked last, the most first; at most `spendsToldMax`, and the rest the next time. */
  takeSpent(): readonly Spend[]
  /** Takes off what the others let through. */
  charge(spends: readonly Spend[]): void
}

/** What was taken of quotas here and has not been told yet. Its size is bounded, whoever comes. */
export interface SpendBook {
  note(name: QuotaName, key: string, tokens?: number): void
  /** See `SharedQuotas.takeSpent`. */
  take(): readonly Spend[]
}

/** @param deps - `onUntold` hears of each token that nobody will hear of, as there is no place for its key. */
export function createSpendBook({ onUntold }: { readonly onUntold: () => void }): SpendBook {
  let spent = new Map<QuotaName, Map<string, number>>()
  let keys = 0

  return {
    note(name, key, tokens = 1) {
      let ofName = spent.get(name)
      if (!ofName) {
        ofName = new Map()
        spent.set(name, ofName)
      }
      const noted = ofName.get(key)
      if (noted !== undefined) ofName.set(key, Math.min(noted + tokens, limits.spendTokensMax))
      else if (keys < limits.spendKeysMax) {
        ofName.set(key, tokens)
        keys++
      } else onUntold()
    },
    take() {
      if (keys === 0) return []
      const all = [...spent].flatMap(([name, ofName]) =>
        [...ofName].map(([key, tokens]): Spend => [name, key, tokens]),
      )
      if (all.length <= limits.spendsToldMax) {
        spent = new Map()
        keys = 0
        return all
      }
      const told = all.sort(([, , a], [, , b]) => b - a).slice(0, limits.spendsToldMax)
      for (const [name, key] of told) spent.get(name)?.delete(key)
      keys -= told.length
      return told
    },
  }
}
