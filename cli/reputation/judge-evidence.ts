import type { Address, Hex } from 'viem'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { encodeCanonicalJson } from '../../protocol/canonical-json.ts'
import { checkReport } from '../../protocol/check-report.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type FraudReport, formatFraudReport } from '../../protocol/fraud-report.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { checkReceipts, type EvidenceScope, type ProvenReceipt } from '../../protocol/receipt-evidence.ts'
import { type CountedPayer, reputationFormula } from '../../protocol/reputation.ts'
import { type ReceiptTally, tallyReceipts } from '../../protocol/reputation-receipts.ts'
import type { CommandContext } from '../command.ts'
import { type MarketPlace, parseHttpUrl, readGatewayInfo } from '../market/market.ts'
import { type ReplayVerdict, replayReport } from '../replay/replay-report.ts'
import type { Evidence } from './read-evidence.ts'

export interface JudgingScope extends EvidenceScope {
  readonly payers: ReadonlyMap<Address, CountedPayer>
  /** Where programs come from to run reported calls again; undefined where that was not asked for. */
  readonly judging: (MarketPlace & { readonly keeper: string | undefined }) | undefined
}

/** What evidence comes to. */
export interface JudgedEvidence {
  readonly receipts: readonly ProvenReceipt[]
  readonly tally: ReceiptTally
  readonly disputes: Disputes
  readonly refused: {
    readonly unreadable: number
    readonly foreign: number
    readonly forged: number
    readonly duplicate: number
  }
  /** Of the reports that count, in order. */
  readonly reportDigests: readonly Hex[]
}

export interface Disputes {
  /** Calls of which somebody answers for it that the program gives another answer. */
  readonly reports: number
  /** Calls of which the provider signed two things. */
  readonly contradictions: number
  /** By running them again here; undefined where that was not asked for. */
  readonly replayed: Readonly<Record<ReplayVerdict, number>> | undefined
}

/** @throws what running calls again throws: see `replayReport` */
export async function judgeEvidence(
  { receipts: kept, reports, unreadable }: Evidence,
  { payers, judging, ...scope }: JudgingScope,
  context: CommandContext,
): Promise<JudgedEvidence> {
  const { receipts, contradictions, refused } = await checkReceipts(kept, scope)
  const claimed = new Map<Hex, { readonly report: FraudReport; readonly receipt: Receipt }>()
  const digests = new Set<Hex>()
  let { foreign, forged, duplicate } = refused
  for (const report of reports) {
    const checked = await checkReport(report, scope)
    if (checked.kind === 'foreign') foreign += 1
    else if (checked.kind === 'forged') forged += 1
    else {
      const { callId } = checked.receipt
      // Many may report one call: it is one lie.
      if (claimed.has(callId)) duplicate += 1
      claimed.set(callId, { report, receipt: checked.receipt })
      digests.add(toHex(sha256(Buffer.from(formatFraudReport(report)))))
    }
  }
  return {
    receipts,
    tally: tallyReceipts(payers, receipts),
    disputes: {
      reports: claimed.size,
      contradictions,
      replayed: judging && (await replayAll([...claimed.values()], { ...scope, judging }, context)),
    },
    refused: { unreadable, foreign, forged, duplicate },
    reportDigests: [...digests].sort(),
  }
}

async function replayAll(
  claimed: readonly { readonly report: FraudReport; readonly receipt: Receipt }[],
  {
    market,
    judging,
  }: Pick<EvidenceScope, 'market'> & { readonly judging: NonNullable<JudgingScope['judging']> },
  context: CommandContext,
): Promise<Record<ReplayVerdict, number>> {
  if (claimed.length > limits.evidenceReplaysMax)
    throw new ProtocolError(
      'config_invalid',
      `${claimed.length} calls are reported, and ${limits.evidenceReplaysMax} at most are run again.`,
      { hint: 'Run some of them again with "khachapuri replay <report>".' },
    )
  const found = { proven: 0, refuted: 0, open: 0 }
  if (claimed.length === 0) return found
  const keeper = judging.keeper ?? (await readGatewayInfo(judging.gateway, context.signal)).keeper
  const keeperUrl = parseHttpUrl('--keeper', keeper)
  for (const { report, receipt } of claimed)
    found[await replayReport(report, receipt, { keeperUrl, market }, context)] += 1
  return found
}

/** What went into a reputation: who differs in it counted something else. */
export const digestInputs = (
  facts: Readonly<Record<string, unknown>>,
  { receipts, disputes, reportDigests }: Pick<JudgedEvidence, 'receipts' | 'disputes' | 'reportDigests'>,
): Hex =>
  toHex(
    sha256(
      encodeCanonicalJson({
        formula: reputationFormula,
        ...facts,
        receipts: receipts.map(({ leaf, isRooted }) => [leaf, isRooted]),
        contradictions: disputes.contradictions,
        reports: reportDigests,
      }),
    ),
  )
