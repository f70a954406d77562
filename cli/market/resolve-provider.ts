import { createLog } from '../../protocol/base/log.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { type ProviderName, parseName, requireProvider } from '../../protocol/name.ts'
import { parseSealKey, type SealKey } from '../../protocol/seal.ts'
import type { CommandContext } from '../command.ts'
import type { OpenMarket } from './open.ts'
import { pinIdentity } from './pins.ts'

/** A provider as the chain names it, held to its pinned identity. */
export interface ResolvedProvider extends ProviderName {
  readonly sealKey: SealKey
}

/**
 * Reads a provider from the chain and compares it with what it was when it was first seen.
 *
 * @throws ProtocolError `provider_unknown`, `identity_changed`, `name_malformed`, `chain_unreachable`
 */
export async function resolveProvider(
  text: string,
  { market, client, acceptIdentity }: OpenMarket & { acceptIdentity: boolean },
  context: CommandContext,
): Promise<ResolvedProvider> {
  const provider = await readProvider(text, { market, client }, context)
  const key = { market: await marketKey({ market, client }, context.signal), name: provider.name }
  const identity = { address: provider.address, kid: provider.sealKey.kid, owner: provider.owner }
  const { isFirst } = await pinIdentity(key, identity, { env: context.env, accept: acceptIdentity })
  if (isFirst)
    context.note(`First time here: ${provider.name} is ${provider.address}, with the key ${identity.kid}.`)
  return provider
}

/** Reads a provider from the chain, whoever it is now. */
export async function readProvider(
  text: string,
  { market, client }: OpenMarket,
  { clock, signal }: CommandContext,
): Promise<ResolvedProvider> {
  const name = parseName(text)
  const { registry } = market.contracts
  const reader = createNameReader({ client, clock, log: createLog({ level: 'silent' }) }, { registry })
  const provider = requireProvider(await reader.readName(name, signal), name)
  return { ...provider, sealKey: await parseSealKey(provider.publicKey) }
}

/** What tells markets apart, whatever their addresses. Chains that start anew have the same id and addresses but another first block: a local market is new every time. */
export async function marketKey({ market, client }: OpenMarket, signal: AbortSignal): Promise<string> {
  const first = await reachChain(client.getBlock({ blockNumber: 0n }), 'read the first block', signal)
  return `${market.chainId}:${first.hash}:${market.contracts.registry}`
}
