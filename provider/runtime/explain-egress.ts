import { describeBreach, type EgressBudget } from '../egress/budget.ts'
import type { CallOutcome } from './runtime.ts'

/**
 * How a call ended, where its program may have been refused more of the network and did not know what to do then.
 *
 * @param breachesBefore - What the budget had counted when the call began.
 */
export function explainEgress(
  outcome: CallOutcome,
  budget: EgressBudget | undefined,
  breachesBefore: number,
): CallOutcome {
  if (outcome.kind !== 'crashed' || !budget?.lastBreach || budget.breaches === breachesBefore) return outcome
  const message = `${describeBreach(budget.lastBreach)} Then it failed: ${outcome.message}`
  return { kind: 'egress_exceeded', message }
}
