import { type Egress, formatEgress, isOffered } from '../../protocol/egress.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import { limitsBeyond, type SomeLimits } from '../../protocol/program-limits.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import type { CommandContext } from '../command.ts'
import { providerUrl } from '../market/market.ts'
import { type ResolvedProvider, resolveProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { askProviderInfo } from './provider-answers.ts'

/** A provider that is to run the deployment. */
export interface DeployTarget {
  readonly provider: ResolvedProvider
  readonly name: string
  readonly url: URL
  /** Undefined while it does not answer: what it needs to run the deployment later is on chain. */
  readonly info: ProviderInfo | undefined
}

/**
 * Resolves the providers on chain and asks each who it is.
 *
 * @throws ProtocolError `provider_unknown`, `identity_changed`; `provider_answer_invalid` for one that is somebody else
 */
export async function findTargets(
  names: readonly string[],
  { writer, gateway, acceptIdentity }: { writer: Writer; gateway: GatewayInfo; acceptIdentity: boolean },
  context: CommandContext,
): Promise<readonly DeployTarget[]> {
  const targets: DeployTarget[] = []
  for (const text of new Set(names)) {
    const provider = await resolveProvider(text, { ...writer, acceptIdentity }, context)
    const { name } = provider
    const url = providerUrl(writer.market.gateway, gateway.domain, name)
    const info = await askProviderInfo({ name, url }, context.signal).catch((error: unknown) => {
      // A provider that is away can still be deployed to; anything else that goes wrong is worth stopping for.
      if (!isProtocolError(error) || !awayCodes.has(error.code)) throw error
      context.note(`Warning: ${error.message} It is deployed to all the same, unchecked.`)
      return undefined
    })
    if (info) assertSameParty(provider, info)
    targets.push({ provider, name, url, info })
  }
  return targets
}

const awayCodes: ReadonlySet<string> = new Set([
  'provider_unreachable',
  'provider_offline',
  'tunnel_lost',
  'local_service_down',
  'call_timeout',
  'call_stalled',
])

/** Whoever answers under the name must be the one on chain, or nothing sealed for it will open. */
function assertSameParty({ name, address, sealKey }: ResolvedProvider, info: ProviderInfo): void {
  if (info.address === address && info.kid === sealKey.kid) return
  throw new ProtocolError(
    'provider_answer_invalid',
    `${name} answers as ${info.address} with the key ${info.kid}, but on chain it is ${address} with the key ${sealKey.kid}.`,
    { hint: 'Its operator must mend its resolver, or the gateway sends you to somebody else.' },
  )
}

/** @throws ProtocolError `egress_refused` where a provider would not let the program reach this */
export function assertEgressOffered(targets: readonly DeployTarget[], egress: Egress): void {
  for (const { name, info } of targets) {
    if (!info || isOffered(egress, info.egress)) continue
    throw new ProtocolError(
      'egress_refused',
      `${name} does not let programs reach: ${formatEgress(egress)}. It offers "${info.egress}".`,
      { hint: 'Choose another provider, or deploy with less egress: --egress none, or a list of origins.' },
    )
  }
}

/** @throws ProtocolError `limits_too_high` where a provider would not give the program as much */
export function assertLimitsOffered(targets: readonly DeployTarget[], asked: SomeLimits): void {
  for (const { name, info } of targets) {
    const beyond = info ? limitsBeyond(info.limits, asked) : []
    if (!info || beyond.length === 0) continue
    const words = beyond.map((limit) => `${limit} ${asked[limit]} (at most ${info.limits[limit]})`)
    throw new ProtocolError('limits_too_high', `${name} does not give a program ${words.join(', ')}.`, {
      hint: `Choose another provider, or deploy with less; "khachapuri limits --provider ${name}" shows what it gives.`,
    })
  }
}

/**
 * The terms that the deployment accepts: those of its providers.
 *
 * @throws ProtocolError `deployment_invalid` where two providers want different ones
 */
export function agreeOnTerms(targets: readonly DeployTarget[]): string | null {
  const wanted = new Map(
    targets.flatMap(({ name, info }) => (info?.terms ? [[info.terms, name] as const] : [])),
  )
  if (wanted.size <= 1) return [...wanted.keys()][0] ?? null
  throw new ProtocolError(
    'deployment_invalid',
    `The providers have different terms: ${[...wanted].map(([terms, name]) => `${name} ${terms}`).join(', ')}.`,
    { hint: 'Make one deployment for each of them.' },
  )
}
