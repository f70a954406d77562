import { createSpendBook, type SharedQuotas, type Spend } from '../limits/spend-book.ts'

/** What a gateway's first process counts together with its further ones, and they all with other gateways. */
export interface QuotaRelay {
  /** Towards the further processes. */
  readonly inside: SharedQuotas
  /** Towards other gateways: what all processes of this one let through. */
  readonly outside: SharedQuotas
}

/**
 * Stands between the processes of one gateway and the other gateways: each token is told to everybody else once, and never
 * back to those who took it.
 *
 * @param deps - `own` are those of the first process; `tellInside` reaches all further processes.
 */
export function relayQuotas(deps: {
  readonly own: () => SharedQuotas
  readonly tellInside: (spends: readonly Spend[]) => void
  readonly onUntold: () => void
}): QuotaRelay {
  const book = createSpendBook(deps)
  const note = (spends: readonly Spend[]) => {
    for (const [name, key, tokens] of spends) book.note(name, key, tokens)
  }
  return {
    inside: {
      takeSpent() {
        const spends = deps.own().takeSpent()
        note(spends)
        return spends
      },
      charge(spends) {
        deps.own().charge(spends)
        note(spends)
      },
    },
    outside: {
      takeSpent: book.take,
      charge(spends) {
        deps.own().charge(spends)
        deps.tellInside(spends)
      },
    },
  }
}
