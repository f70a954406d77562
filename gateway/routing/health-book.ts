import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'
import { type ProviderHealth, unknownHealth } from './provider-health.ts'

/** What this gateway has seen of providers lately; the least recently seen are forgotten. */
export interface HealthBook {
  of(provider: Address): ProviderHealth
  change(provider: Address, next: (health: ProviderHealth) => ProviderHealth): void
  /** The provider does not take calls of this deployment at the moment. */
  noteRefusal(provider: Address, cid: string): void
  hasRefused(provider: Address, cid: string): boolean
}

export function createHealthBook({ clock }: { clock: Clock }): HealthBook {
  const seen = createRecent<Address, ProviderHealth>(limits.routeHealthKeptMax)
  const refusedUntilMs = createRecent<string, number>(limits.routeRefusalsKeptMax)
  const of = (provider: Address) => seen.get(provider) ?? unknownHealth
  return {
    of,
    change: (provider, next) => seen.set(provider, next(of(provider))),
    noteRefusal: (provider, cid) =>
      refusedUntilMs.set(`${provider} ${cid}`, clock.monotonicMs() + limits.routeRefusalMs),
    hasRefused: (provider, cid) => (refusedUntilMs.get(`${provider} ${cid}`) ?? 0) > clock.monotonicMs(),
  }
}
