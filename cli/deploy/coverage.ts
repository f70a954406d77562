import { decideGrant } from '../../protocol/grant.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import type { CommandContext } from '../command.ts'
import { readOpenGrant } from '../market/escrow.ts'
import { noticeHoursDefault } from '../market/grant-terms.ts'
import type { ResolvedProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'

/** A round number of calls that a first budget should be good for. */
const callsSuggested = 1000

/**
 * Whether the owner's grant pays for one more call at a provider; says what to do where it does not.
 *
 * @returns the verdict's kind; `covers` is the good one.
 */
export async function checkCoverage(
  provider: ResolvedProvider,
  { writer, info }: { writer: Writer; info: ProviderInfo },
  { clock, note, signal }: CommandContext,
): Promise<string> {
  const grant = await readOpenGrant(
    writer,
    { payer: writer.account.address, provider: provider.address },
    signal,
  )
  const { kind } = decideGrant({
    grant,
    // The chain knows what was settled; what the provider has charged since is its own knowledge.
    owedUsdc: grant?.spentUsdc ?? (0n as Usdc),
    priceUsdc: info.price,
    nowSeconds: Math.floor(clock.nowMs() / 1000),
    noticeHoursMin: info.noticeHours,
  })
  if (kind !== 'covers') {
    const budget = formatUsdc((info.price * BigInt(callsSuggested)) as Usdc)
    note(
      `Warning: no grant of ${writer.account.address} covers calls at ${provider.name} (${kind.replaceAll('_', ' ')}). They will be refused until you reserve money:\n` +
        `  khachapuri approve ${provider.name} --price ${formatUsdc(info.price)} --budget ${budget}${longNotice(info)}   # ${callsSuggested} calls`,
    )
  }
  return kind
}

const longNotice = ({ noticeHours }: ProviderInfo) =>
  noticeHours > noticeHoursDefault ? ` --notice ${noticeHours}h` : ''
