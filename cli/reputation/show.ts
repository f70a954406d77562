import type { Reputation } from '../../protocol/reputation.ts'
import { formatUsdc, usdc } from '../../protocol/usdc.ts'
import type { JudgedEvidence } from './judge-evidence.ts'

/** What the chain says, for people. */
export function formatPaid(computed: Reputation): string[] {
  const { calls, payers, effectivePayersMilli, spent, counted, weight, excluded, ratings } = computed
  const mean = ratings.meanMilli === null ? 'none' : `${thousandths(ratings.meanMilli)} of 100`
  return [
    `  calls     ${calls}, paid with ${amount(counted)}`,
    `  payers    ${payers}, as many as ${thousandths(effectivePayersMilli)} of equal size`,
    `  ratings   ${mean}${ratings.count > 0 ? `, by ${ratings.count} who paid` : ''}`,
    `  weight    ${weight}`,
    `  left out  ${amount(spent - counted)}, and ${excluded.payers} payers: its own, or its owner's, or given by them`,
  ]
}

export const paidToJson = (computed: Reputation) => {
  const { calls, payers, effectivePayersMilli, spent, counted, weight, excluded, ratings } = computed
  return {
    ...{ calls, payers, effectivePayersMilli: Number(effectivePayersMilli) },
    ...{ spentUsdc: spent.toString(), countedUsdc: counted.toString(), weight: weight.toString() },
    excluded: { payers: excluded.payers, spentUsdc: excluded.spent.toString() },
    ratings: {
      count: ratings.count,
      meanMilli: ratings.meanMilli === null ? null : Number(ratings.meanMilli),
      countedUsdc: ratings.counted.toString(),
    },
  }
}

/** What receipts say, for people. */
export function formatServed({ receipts, tally, disputes, refused }: JudgedEvidence): string[] {
  const { answered, failures, timeouts, programFaults, outvoted, failureShareMilli, latency, unused } = tally
  const unusedOnes = Object.values(unused).reduce((total, one) => total + one, 0)
  const { reports, contradictions, replayed } = disputes
  return [
    `  receipts  ${receipts.length} of this provider: ${answered} answered, ${unusedOnes} say nothing here`,
    `  failures  ${failures} of its own, ${thousandths(failureShareMilli * 100n)} % as payers weigh; ${timeouts} timeouts, ${programFaults} other faults of programs`,
    `  latency   ${latency.medianMs === null ? 'unknown' : `${latency.medianMs} ms, at most ${latency.p95Ms} ms for 95 %, by its own clock`}`,
    `  disputes  ${reports} reported, ${contradictions} receipts that contradict each other, ${outvoted} outvoted` +
      (replayed
        ? `; run again: ${replayed.proven} proven, ${replayed.refuted} refuted, ${replayed.open} open`
        : ''),
    `  refused   ${refused.forged} forged, ${refused.foreign} of others, ${refused.duplicate} twice, ${refused.unreadable} unreadable`,
  ]
}

export const servedToJson = ({ tally, disputes, refused }: JudgedEvidence) => {
  const { failureShareMilli, ...counts } = tally
  return {
    served: { ...counts, failureShareMilli: Number(failureShareMilli) },
    disputes: { ...disputes, replayed: disputes.replayed ?? null },
    refused,
  }
}

const amount = (units: bigint): string => `${formatUsdc(usdc(units))} USDC`

/** Without rounding: three digits behind the point, or none. */
function thousandths(milli: bigint): string {
  const rest = (milli % 1000n).toString().padStart(3, '0').replace(/0+$/, '')
  return `${milli / 1000n}${rest === '' ? '' : `.${rest}`}`
}
