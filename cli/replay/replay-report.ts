import { isProtocolError } from '../../protocol/errors.ts'
import type { FraudReport } from '../../protocol/fraud-report.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { CommandContext } from '../command.ts'
import { fetchDeployment, fetchFiles } from './fetch-deployment.ts'
import { runAgain } from './run-again.ts'

/** What came of running a report's call again: the program gives another answer than was signed, the same, or nobody can say. */
export type ReplayVerdict = 'proven' | 'refuted' | 'open'

/**
 * Runs the call of a report again, whose receipt and record were checked.
 *
 * @throws what the machine has against it: `sandbox_unavailable`, `content_unreachable`
 */
export async function replayReport(
  { record }: Pick<FraudReport, 'record'>,
  receipt: Receipt,
  place: { readonly keeperUrl: URL; readonly market: Market },
  context: CommandContext,
): Promise<ReplayVerdict> {
  try {
    const { spec, programId } = await fetchDeployment(receipt.deployment, place, context.signal)
    if (programId !== receipt.programId) return 'open'
    const files = await fetchFiles(spec, place, context.signal)
    const { callId, startedAt: startedMs } = receipt
    const found = await runAgain({ spec, files, input: record, callId, startedMs }, context)
    const isSame = found.status === receipt.status && found.responseDigest === receipt.responseDigest
    return isSame ? 'refuted' : 'proven'
  } catch (error) {
    if (isProtocolError(error) && saysNothing.has(error.code)) return 'open'
    throw error
  }
}

/** It cannot be run again, by anybody. */
const saysNothing: ReadonlySet<string> = new Set([
  'replay_impossible',
  'replay_inconclusive',
  'cid_not_found',
])
