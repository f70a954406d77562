import { ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import type { Difference } from './account-book.ts'

/** What does not add up: all of it is counted, the first of it is kept to be told. */
export interface Differences {
  add(...differences: readonly Difference[]): void
  /** Adds one where the two are not the same. */
  compare(what: string, statedUsdc: bigint, chainUsdc: bigint): void
  readonly count: number
  /** @throws ProtocolError `statement_differs` where anything was added */
  assertNone(hint?: string): void
}

const toldMax = 20

export function createDifferences(): Differences {
  const told: Difference[] = []
  let count = 0
  const add = (...differences: readonly Difference[]) => {
    for (const difference of differences) {
      count += 1
      if (told.length < toldMax) told.push(difference)
    }
  }
  return {
    add,
    compare(what, statedUsdc, chainUsdc) {
      if (statedUsdc !== chainUsdc) add({ what, statedUsdc, chainUsdc })
    },
    get count() {
      return count
    },
    assertNone(hint = 'Believe the chain; ask who is named for its books.') {
      const [first] = told
      if (!first) return
      const lines = told.map(
        ({ what, statedUsdc, chainUsdc, transaction }) =>
          `  ${what}: ${show(statedUsdc)} USDC, on chain ${show(chainUsdc)} USDC, ${show(statedUsdc - chainUsdc)} apart${
            transaction ? ` (${transaction})` : ''
          }`,
      )
      const more = count > told.length ? [`  and ${count - told.length} more`] : []
      throw new ProtocolError(
        'statement_differs',
        [`The sums are not those of the chain:`, ...lines, ...more].join('\n'),
        {
          hint,
          details: {
            differences: told.map(({ statedUsdc, chainUsdc, ...rest }) => ({
              ...rest,
              statedUsdc: statedUsdc.toString(),
              chainUsdc: chainUsdc.toString(),
            })),
            differencesCount: count,
          },
        },
      )
    },
  }
}

const show = (amount: bigint) =>
  amount < 0n ? `-${formatUsdc(-amount as Usdc)}` : formatUsdc(amount as Usdc)
