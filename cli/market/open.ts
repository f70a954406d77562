import type { CommandContext } from '../command.ts'
import { openAccount } from '../keys/account.ts'
import { type Chains, connectChain } from './chain.ts'
import { findMarket, type MarketPlace } from './market.ts'
import type { AccountFlags, MarketFlags } from './options.ts'
import type { Writer } from './write.ts'

/** Finds the market and the way to its chain. @throws ProtocolError as `findMarket` and `connectChain` */
export async function openMarket(
  flags: MarketFlags,
  context: CommandContext,
): Promise<{ market: MarketPlace; client: Chains }> {
  const market = await findMarket(flags, context)
  return { market, client: await connectChain(market, context.signal) }
}

/** The same, with the account that signs. @throws ProtocolError as `openAccount`, too */
export async function openWriter(
  flags: MarketFlags & AccountFlags,
  context: CommandContext,
): Promise<Writer> {
  const { market, client } = await openMarket(flags, context)
  return { market, client, account: await openAccount(flags, market, context) }
}
