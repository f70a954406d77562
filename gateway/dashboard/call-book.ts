import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'
import type { CountedRequest } from '../observe/metrics.ts'

/** Calls to one provider, by its name. */
export interface CallCount {
  readonly name: string
  /** All, those included whose caller left before the end. */
  readonly calls: number
  /** With a status below 500, to the end. */
  readonly answered: number
  readonly failed: number
}

/** Counts what became of calls, since the gateway started. */
export interface CallBook {
  /** @param isKnown - Whether there is such a provider: callers name what they like. */
  note(outcome: CallOutcome, isKnown: (name: string) => boolean): void
  of(name: string): CallCount
  /** What was counted here since the last time. For who tells another process. */
  take(): CallCount[]
  add(counts: readonly CallCount[]): void
}

type CallOutcome = Pick<CountedRequest, 'target' | 'provider' | 'status' | 'code' | 'isWhole'>

export function createCallBook({ isTold }: { readonly isTold: boolean }): CallBook {
  const totals = createRecent<string, CallCount>(limits.dashboardProvidersMax)
  const untold = createRecent<string, CallCount>(limits.dashboardProvidersMax)
  const addTo = (counts: typeof totals, { name, calls, answered, failed }: CallCount) => {
    const known = counts.get(name) ?? { name, calls: 0, answered: 0, failed: 0 }
    counts.set(name, {
      name,
      calls: known.calls + calls,
      answered: known.answered + answered,
      failed: known.failed + failed,
    })
  }
  return {
    note(outcome, isKnown) {
      const { target, provider: name } = outcome
      if (target !== 'provider' || name === undefined || !isKnown(name)) return
      const ended = endOf(outcome)
      const count = {
        name,
        calls: 1,
        answered: ended === 'answered' ? 1 : 0,
        failed: ended === 'failed' ? 1 : 0,
      }
      addTo(totals, count)
      if (isTold) addTo(untold, count)
    },
    of: (name) => totals.get(name) ?? { name, calls: 0, answered: 0, failed: 0 },
    take() {
      const counts = [...untold.values()]
      for (const { name } of counts) untold.delete(name)
      return counts
    },
    add(counts) {
      for (const count of counts) addTo(totals, count)
    },
  }
}

function endOf({ status, code, isWhole }: CallOutcome): 'answered' | 'failed' | 'left' {
  if (status !== undefined && status >= 500) return 'failed'
  if (isWhole && status !== undefined) return 'answered'
  return code === undefined ? 'left' : 'failed'
}
