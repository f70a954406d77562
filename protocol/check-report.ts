import { type Address, getAddress } from 'viem'
import { hashInput } from './call-record.ts'
import { type FraudReport, fraudReportSigner } from './fraud-report.ts'
import { parseSignedReceipt } from './read-receipt.ts'
import type { Receipt } from './receipt.ts'
import type { Market } from './typed-data.ts'
import { verifyReceipt } from './verify-receipt.ts'

/** What a report says that can be seen without running the program again. */
export type CheckedReport =
  /** Somebody answers for it that this receipt of this provider is of another answer than the program gives. */
  | { readonly kind: 'claimed'; readonly receipt: Receipt }
  /** About another provider or market. */
  | { readonly kind: 'foreign' }
  /** The receipt does not hold, the record or what was said is not the receipt's, nobody contradicts anybody, or another one signed. */
  | { readonly kind: 'forged' }

export async function checkReport(
  report: FraudReport,
  { provider, market }: { readonly provider: Address; readonly market: Market },
): Promise<CheckedReport> {
  const signed = parseSignedReceipt(report.signed)
  if (!signed) return { kind: 'forged' }
  const { receipt } = signed
  const isHere = signed.market.chainId === market.chainId && signed.market.escrow === market.escrow
  if (receipt.provider !== provider || !isHere) return { kind: 'foreign' }
  const { said, found } = report
  const isOfReceipt =
    receipt.outcome === 'answered' &&
    said.status === receipt.status &&
    said.responseDigest === receipt.responseDigest &&
    hashInput(report.record) === receipt.requestDigest
  const differs = said.status !== found.status || said.responseDigest !== found.responseDigest
  if (!isOfReceipt || !differs) return { kind: 'forged' }
  if ((await verifyReceipt(signed)).some(({ verdict }) => verdict === 'wrong')) return { kind: 'forged' }
  const signer = await fraudReportSigner(report, market)
  return signer === getAddress(report.by) ? { kind: 'claimed', receipt } : { kind: 'forged' }
}
