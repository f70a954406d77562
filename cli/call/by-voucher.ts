import { readCallEnd } from '../../protocol/voucher-session.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import type { CommandContext } from '../command.ts'
import type { ResolvedProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import type { Answer } from './answer.ts'
import { openSession, readPrice, type SessionWish } from './open-session.ts'

export interface VoucherCall extends SessionWish {
  readonly url: URL
  readonly provider: ResolvedProvider
  /** Sends the call with these headers besides its own. */
  readonly send: (headers: Readonly<Record<string, string>>) => Promise<Answer>
}

/**
 * Makes a call that a voucher pays for: to the provider that the chain names, at the price that it asks, from the grant
 * of the account that signs.
 *
 * @throws ProtocolError `grant_missing`, `price_above_cap`, `accounts_differ`, …
 */
export async function callByVoucher(
  { url, provider, send, ...wish }: VoucherCall,
  writer: Writer,
  context: CommandContext,
): Promise<Answer> {
  const priceUsdc = await readPrice(url, provider, context)
  const session = await openSession(provider, wish, writer, context)
  return session.call(priceUsdc, async (token) => {
    const answer = await send({ [voucherHeader]: token })
    return { ...readCallEnd(answer), value: answer }
  })
}
