import type { CommandContext } from '../command.ts'
import { providerUrl, readGatewayInfo } from './market.ts'
import type { OpenMarket } from './open.ts'
import type { ResolvedProvider } from './resolve-provider.ts'

/** Where providers are asked without a gateway: at their own address; who is behind a tunnel, through the gateway all the same. */
export async function readOrigins(
  { market }: OpenMarket,
  { signal }: CommandContext,
): Promise<(provider: Pick<ResolvedProvider, 'name' | 'server'>) => URL> {
  const { domain } = await readGatewayInfo(market.gateway, signal)
  return ({ name, server }) =>
    /^https?:\/\//.test(server) ? new URL(server) : providerUrl(market.gateway, domain, name)
}
