import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import type { ListedProvider } from '../http/page.ts'
import type { ServiceRecord } from '../reputation/standing.ts'
import type { RouteFacts } from '../routing/router.ts'
import type { CallBook } from './call-book.ts'

/** All that the dashboard shows, and the same as JSON. */
export interface DashboardView {
  readonly gateway: Pick<GatewayInfo, 'domain' | 'chainId' | 'escrow' | 'version'>
  /** Calls are counted from then on. */
  readonly since: string
  readonly at: string
  readonly providers: readonly DashboardProvider[]
}

export interface DashboardProvider {
  readonly address: Address
  readonly name: string | null
  /** Where it is called. */
  readonly url: string | null
  /** `silent`: it was called once, and has never said whether it is there. */
  readonly state: 'live' | 'down' | 'silent'
  readonly isTunnelled: boolean
  readonly region: string | null
  readonly version: string | null
  /** Base units of USDC for a call. */
  readonly price: string | null
  readonly runtimes: readonly string[]
  /** Through this gateway; a call that went to a swarm counts for who gave the answer. */
  readonly calls: number
  readonly answered: number
  readonly failed: number
  /** Answered of those that were answered or failed, from 0 to 1; null before the first. */
  readonly successRate: number | null
  /** Until its answers begin, lately. */
  readonly latencyMs: number | null
  readonly record: ServiceRecord
  /** What the chain says, as far as this gateway has read it; null before that. */
  readonly reputation: {
    readonly fromBlock: number
    readonly toBlock: number
    readonly calls: number
    readonly payers: number
    readonly countedUsdc: string
    readonly weight: string
  } | null
  /** Where its receipts are, by the id of a call. */
  readonly receipts: string | null
}

export interface DashboardDeps {
  readonly clock: Clock
  readonly info: GatewayInfo
  /** As `/_/providers` lists them. */
  readonly listed: () => readonly ListedProvider[]
  readonly known: () => readonly ProviderName[]
  readonly calls: Pick<CallBook, 'of'>
  readonly factsOf: (provider: Address) => RouteFacts
  readonly urlOf: (name: string) => string
}

/** Who has gone stays in the view: with what it said last, where that was seen. */
export function createDashboardView(deps: DashboardDeps): () => DashboardView {
  const { clock, info, calls, factsOf, urlOf } = deps
  const since = new Date(clock.nowMs()).toISOString()
  const seen = createRecent<string, ListedProvider>(limits.dashboardProvidersMax)
  const wasLive = createRecent<string, true>(limits.dashboardProvidersMax)

  function describe(one: ListedProvider, isListed: boolean): DashboardProvider {
    const { name, address, url = null } = one
    const { calls: count, answered, failed } = calls.of(name ?? '')
    const facts = factsOf(address)
    const hasGone = !isListed || (!one.isLive && wasLive.has(keyOf(one)))
    const isDown = hasGone || facts.circuit !== 'closed'
    const { read, latencyMs } = facts
    return {
      ...{ address, name: name ?? null, url, isTunnelled: isListed && one.isTunnelled },
      state: isDown ? 'down' : one.isLive ? 'live' : 'silent',
      ...{ region: one.region ?? null, version: one.version ?? null, price: one.price ?? null },
      runtimes: one.runtimes ?? [],
      ...{ calls: count, answered, failed },
      successRate: answered + failed === 0 ? null : answered / (answered + failed),
      latencyMs: latencyMs === undefined ? null : Math.round(latencyMs),
      record: facts.standing.record,
      reputation: read
        ? {
            fromBlock: Number(read.fromBlock),
            toBlock: Number(read.toBlock),
            calls: read.reputation.calls,
            payers: read.reputation.payers,
            countedUsdc: read.reputation.counted.toString(),
            weight: read.reputation.weight.toString(),
          }
        : null,
      receipts: url && new URL('/_/receipts/', url).href,
    }
  }

  return () => {
    const listed = deps.listed().slice(0, limits.dashboardProvidersMax)
    const here = new Set(listed.map(keyOf))
    for (const one of listed) {
      seen.set(keyOf(one), one)
      if (one.isLive) wasLive.set(keyOf(one), true)
    }
    for (const { name, address } of deps.known()) {
      const one = { name, address, url: urlOf(name), isLive: false, isTunnelled: false }
      if (!seen.has(keyOf(one))) seen.set(keyOf(one), one)
    }
    const gone = [...seen.values()].filter((one) => !here.has(keyOf(one)))
    const { domain, chainId, escrow, version } = info
    return {
      gateway: { domain, chainId, escrow, version },
      ...{ since, at: new Date(clock.nowMs()).toISOString() },
      providers: [
        ...listed.map((one) => describe(one, true)),
        ...gone.map((one) => describe(one, false)),
      ].sort(byName),
    }
  }
}

/** One account may have several names. */
const keyOf = ({ name, address }: Pick<ListedProvider, 'name' | 'address'>): string =>
  `${name ?? ''} ${address}`

const byName = (a: DashboardProvider, b: DashboardProvider): number => {
  const [one, other] = [a.name ?? a.address, b.name ?? b.address]
  return one < other ? -1 : one > other ? 1 : 0
}
