import type { PublicClient } from 'viem'
import type { CommandContext } from '../command.ts'
import { openAccount } from '../keys/account.ts'
import { connectChain } from './chain.ts'
import { findMarket, type MarketPlace } from './market.ts'
import type { AccountFlags, MarketFlags } from './options.ts'
import type { Writer } from './write.ts'

export interface OpenMarket {
  readonly market: MarketPlace
  readonly client: PublicClient
}

/** Finds the market and the way to its chain. @throws ProtocolError as `findMarket` and `connectChain` */
export async function openMarket(flags: MarketFlags, context: CommandContext): Promise<OpenMarket> {
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
