import { type CommandContext, usageError } from '../command.ts'
import { openMarket, openWriter } from '../market/open.ts'
import type { AccountFlags, MarketFlags } from '../market/options.ts'
import { readOrigins } from '../market/provider-origin.ts'
import { type ResolvedProvider, resolveProvider } from '../market/resolve-provider.ts'
import { cidOf } from '../swarm/call-swarm.ts'
import type { Answer } from './answer.ts'
import { callByVoucher } from './by-voucher.ts'
import { callFirstOf, type FirstAnswer } from './first-of.ts'
import type { SessionWish } from './open-session.ts'
import type { SignedPayment } from './payment.ts'

export interface AskFlags extends MarketFlags, AccountFlags {
  readonly 'accept-identity'?: boolean | undefined
}

export interface AskWish {
  /** With the CID of the deployment at the beginning of its path. */
  readonly url: URL
  /** Who may take the call, in this order. */
  readonly names: readonly string[]
  /** What pays: something that was signed before, or vouchers that are signed as they are needed. */
  readonly payment: SignedPayment | SessionWish
  /** Sends the call to this URL with these headers besides its own. */
  readonly send: (url: URL, headers: Readonly<Record<string, string>>) => Promise<Answer>
}

/** Asks providers themselves, one after the other, until one takes the call. @throws ProtocolError as `callFirstOf`; `usage_invalid` */
export async function askProviders(
  flags: AskFlags,
  { url, names, payment, send }: AskWish,
  context: CommandContext,
): Promise<FirstAnswer> {
  if (!cidOf(url))
    throw usageError('Several providers need the CID of the deployment.', 'Call http://any.<gateway>/<cid>/.')
  const writer = 'headers' in payment ? undefined : await openWriter(flags, context)
  const opened = writer ?? (await openMarket(flags, context))
  const originOf = await readOrigins(opened, context)
  const acceptIdentity = flags['accept-identity'] ?? false
  const providers: ResolvedProvider[] = []
  for (const name of names)
    providers.push(await resolveProvider(name, { ...opened, acceptIdentity }, context))
  return callFirstOf(providers, (provider, onSent) => {
    const at = new URL(`${url.pathname}${url.search}`, originOf(provider))
    const sendTo = (headers: Readonly<Record<string, string>>) => {
      onSent()
      return send(at, headers)
    }
    if ('headers' in payment) return sendTo(payment.headersFor(provider.address))
    return callByVoucher(
      { ...payment, url: at, provider, send: sendTo },
      writer as NonNullable<typeof writer>,
      context,
    )
  })
}
