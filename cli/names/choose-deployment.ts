import { parseJson } from '../../protocol/canonical-json.ts'
import { isProtocolError, parseProblem } from '../../protocol/errors.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import { type CID, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { formatContenthash } from '../../protocol/ipfs/contenthash.ts'
import { formatProviderList, parseProviderList } from '../../protocol/ipfs/named-deployment.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name } from '../../protocol/name.ts'
import type { CommandContext, Options } from '../command.ts'
import { requestHttp } from '../http.ts'
import { providerUrl } from '../market/market.ts'
import type { OpenMarket } from '../market/open.ts'
import { readProvider } from '../market/resolve-provider.ts'

export const serverOptions = {
  provider: {
    type: 'string',
    multiple: true,
    value: '<name>',
    help: 'Who serves it, the name of a provider (default: any provider that does)',
  },
} as const satisfies Options

/** What a name is to say. */
export interface WantedDeployment {
  readonly cid: CID
  readonly providers: readonly Name[]
}

/** @throws ProtocolError `cid_malformed`, `name_malformed` */
export function parseWanted(cid: string, providers: readonly string[]): WantedDeployment {
  return { cid: parseContentCid(cid), providers: parseProviderList(providers.join(' ')) }
}

/** As the resolver's calls take it. */
export const toRecords = ({ cid, providers }: WantedDeployment) => ({
  contenthash: formatContenthash(cid),
  cid: cid.toString(),
  providers: formatProviderList(providers),
})

/**
 * Asks each of the providers whether it would run the deployment, and says what is in the way. It is the owner's decision all
 * the same: a provider may be away at the moment.
 *
 * @throws ProtocolError `provider_unknown` for a name that is no provider's
 */
export async function askServers(
  { cid, providers }: WantedDeployment,
  { at, gateway }: { readonly at: OpenMarket; readonly gateway: GatewayInfo },
  context: CommandContext,
): Promise<void> {
  for (const name of providers) {
    await readProvider(name, at, context)
    const obstacle = await findObstacle(
      new URL(`/_/d/${cid}`, providerUrl(at.market.gateway, gateway.domain, name)),
      context,
    )
    if (obstacle !== undefined) context.note(`${name} would not run it now: ${obstacle}`)
  }
}

async function findObstacle(url: URL, { signal }: CommandContext): Promise<string | undefined> {
  try {
    const { status, body } = await requestHttp({ url, bytesMax: limits.specBytesMax }, signal)
    const value = parseJson(body)
    if (status !== 200) return parseProblem(value)?.detail ?? `it answers ${status}`
    const { refusal } = (value ?? {}) as { refusal?: { detail?: unknown } | null }
    return typeof refusal?.detail === 'string' ? refusal.detail : undefined
  } catch (error) {
    signal.throwIfAborted()
    return isProtocolError(error) ? error.message : 'it does not answer'
  }
}
