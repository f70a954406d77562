import type { IncomingHttpHeaders } from 'node:http'
import type { Address } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import type { ReputationReader } from '../../protocol/chain/reputation-reader.ts'
import type { SeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type CID, digestOfCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name, ProviderName } from '../../protocol/name.ts'
import type { SwarmTerms } from '../../protocol/swarm/ballot.ts'
import { createDelegationChecks } from '../../protocol/swarm/vote.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { NameCache } from '../names/name-cache.ts'
import type { Presence } from '../presence/presence.ts'
import type { ProviderRoute, ProviderRoutes } from '../proxy/provider-routes.ts'
import { createChainReputations, type ReadReputation } from '../reputation/chain-reputations.ts'
import { decideStanding, type Standing } from '../reputation/standing.ts'
import { createVoteBook, type VoteRecord } from '../reputation/vote-book.ts'
import { drawSwarm, noSwarm, readSwarmTerms } from '../swarm/draw-swarm.ts'
import { type CountedSwarm, createSwarmUpstream, type SwarmUpstreamDeps } from '../swarm/swarm-upstream.ts'
import { type ServingReader, selectServers } from './find-servers.ts'
import { createHealthBook } from './health-book.ts'
import { noVoucherFor, readVoucherSet, readVouchers } from './own-voucher.ts'
import { payableOf, readPaymentBounds } from './payment-bounds.ts'
import { type Circuit, circuitOf } from './provider-health.ts'
import { createRoutedUpstream, type RoutedDeps } from './routed-upstream.ts'
import { watchProviders } from './watch-providers.ts'

export interface RouterDeps {
  readonly clock: Clock
  readonly log: Log
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly names: Pick<NameCache, 'peek' | 'resolve' | 'known'>
  readonly presence: Pick<Presence, 'live' | 'isGone'>
  /** Whether a tunnel of this provider stands here. */
  readonly hasTunnel: (provider: Address) => boolean
  readonly routes: Pick<ProviderRoutes, 'routeTo'>
  readonly admitProvider: RoutedDeps['admitProvider']
  /** Absent where the gateway has no content: then `any.<gateway>` knows no deployment. */
  readonly serving?: ServingReader
  /** Absent where the gateway does not read the chain itself: then it runs no swarms. */
  readonly seedBlocks?: Pick<SeedBlocks, 'latest'> | undefined
  readonly market: Market
  readonly forgeSwarm?: SwarmUpstreamDeps['forge']
  /** Absent where the gateway does not read the chain itself: then providers are known by their votes only. */
  readonly reputations?: ReputationReader | undefined
  /** Hears of each swarm that was run. */
  readonly onSwarm?: (counted: CountedSwarm) => void
}

/** A deployment that a request is for, and who is to serve it. */
export interface RoutedDeployment {
  readonly cid: CID
  /** Names of providers; empty for any that serves it. */
  readonly providers: readonly Name[]
}

/** What this gateway goes by when it chooses among providers. */
export interface RouteFacts {
  readonly standing: Standing
  /** What it has read of the chain. */
  readonly read: ReadReputation | undefined
  readonly votes: VoteRecord
  readonly circuit: Circuit
  readonly latencyMs: number | undefined
}

interface SwarmCall {
  readonly terms: SwarmTerms
  readonly headers: IncomingHttpHeaders
  readonly host: string
}

/** Finds providers for the calls of deployments. Disposal ends its questions to providers and to the chain. */
export interface Router extends AsyncDisposable {
  factsOf(provider: Address): RouteFacts
  /**
   * The providers that may run a deployment and are there: they said so within the last seconds, or their tunnel stands.
   * None is asked, and the chain is not read.
   *
   * @throws `deployment_unserved` where the spec cannot be found, `deployment_invalid` where it is none
   */
  liveProviders(cid: CID, signal: AbortSignal): Promise<readonly ProviderName[]>
  /**
   * @param host - The host that the caller called.
   * @throws `deployment_unserved`, `providers_unavailable`; what is wrong with the only provider that is named
   */
  routeTo(
    deployment: RoutedDeployment,
    call: { readonly headers: IncomingHttpHeaders; readonly host: string },
    signal: AbortSignal,
  ): Promise<ProviderRoute>
}

export function createRouter(deps: RouterDeps): Router {
  const { admitProvider, clock, hasTunnel, log, names, presence, random, routes } = deps
  const health = createHealthBook({ clock })
  const isDelegated = createDelegationChecks()
  const votes = createVoteBook({ clock })
  const reputations = createChainReputations({ clock, log, reader: deps.reputations })
  const standingOf = ({ address }: Pick<ProviderName, 'address'>): Standing =>
    decideStanding({ reputation: reputations.of(address)?.reputation, ...votes.of(address) })
  const watch = watchProviders({ clock, log, random, routes, health })

  async function findNamed(wanted: readonly Name[], signal: AbortSignal): Promise<ProviderName[]> {
    const answers = await Promise.allSettled(
      wanted.map((name) => names.peek(name) ?? names.resolve(name, signal)),
    )
    const found: ProviderName[] = []
    let trouble: unknown
    for (const answer of answers) {
      if (answer.status === 'rejected') trouble ??= answer.reason
      else if (answer.value.kind === 'refused') trouble ??= answer.value.error
      else if (answer.value.kind === 'known' && answer.value.record.kind === 'provider')
        found.push(answer.value.record)
    }
    signal.throwIfAborted()
    if (found.length > 0) return found
    if (isProtocolError(trouble)) throw trouble
    throw new ProtocolError(
      'deployment_unserved',
      `None of its providers is registered: ${wanted.join(', ')}.`,
      {
        hint: 'Its owner has to name others: khachapuri name set <name> --provider <name>.',
      },
    )
  }

  async function findAny(cid: CID, signal: AbortSignal): Promise<readonly ProviderName[]> {
    const serving = await deps.serving?.read(cid, signal)
    const known = onePerAccount([...names.known(), ...presence.live().map(({ record }) => record)])
    const servers = preferThere(serving ? await selectServers(serving, known) : [])
    if (servers.length > 0) return sample(servers, random)
    throw new ProtocolError('deployment_unserved', `This gateway knows no provider that serves ${cid}.`, {
      hint: 'Call a provider by its name, or have it announce itself here: provider up --announce.',
      details: { deployment: cid.toString() },
    })
  }

  /** Those that went are asked only where nobody else is left: perhaps only their word does not get through. */
  function preferThere(servers: readonly ProviderName[]): readonly ProviderName[] {
    const there = servers.filter(({ address }) => hasTunnel(address) || !presence.isGone(address))
    return there.length > 0 ? there : servers
  }

  async function toSwarm(
    { cid, providers }: RoutedDeployment,
    { terms, host, headers }: SwarmCall,
    signal: AbortSignal,
  ): Promise<ProviderRoute> {
    const { seedBlocks, serving: reader } = deps
    if (!seedBlocks || !reader) throw noSwarm('This gateway runs no swarms.', 'Use "swarm call --direct".')
    // From then on they are known.
    if (providers.length > 0) await findNamed(providers, signal)
    const serving = await reader.read(cid, signal)
    const known = onePerAccount([...names.known(), ...presence.live().map(({ record }) => record)])
    const wish = await drawSwarm({ cid, serving, known, isThere }, terms, seedBlocks, signal)
    const { market, forgeSwarm: forge } = deps
    const onCounted = (counted: CountedSwarm) => {
      votes.note(toHex(digestOfCid(cid)), counted.result)
      deps.onSwarm?.(counted)
    }
    const upstream = createSwarmUpstream(
      { clock, log, market, routes, admitProvider, isDelegated, forge, onCounted },
      { ...wish, host, vouchers: readVouchers(headers) },
    )
    return { upstream, host: undefined, servedBy: upstream.servedBy }
  }

  function isThere(provider: ProviderName): boolean {
    if (presence.isGone(provider.address) && !hasTunnel(provider.address)) return false
    if (circuitOf(health.of(provider.address), clock.monotonicMs()) === 'open') return false
    try {
      routes.routeTo(provider)
      return true
    } catch {
      return false
    }
  }

  return {
    factsOf(address) {
      const { latencyMs, ...known } = health.of(address)
      const read = reputations.of(address)
      const circuit = circuitOf({ latencyMs, ...known }, clock.monotonicMs())
      return { standing: standingOf({ address }), read, votes: votes.of(address), circuit, latencyMs }
    },
    async liveProviders(cid, signal) {
      const serving = await deps.serving?.read(cid, signal)
      if (!serving) return []
      const tunnelled = names.known().filter(({ address }) => hasTunnel(address))
      const live = presence.live().map(({ record }) => record)
      return selectServers(serving, onePerAccount([...tunnelled, ...live]))
    },
    async routeTo({ cid, providers }, { headers, host }, signal) {
      const terms = readSwarmTerms(headers)
      if (terms) return toSwarm({ cid, providers }, { terms, host, headers }, signal)
      const able = providers.length > 0 ? await findNamed(providers, signal) : await findAny(cid, signal)
      const vouchers = readVoucherSet(headers)
      const bounds = readPaymentBounds(headers)
      const payable = payableOf(able, bounds)
      if (vouchers && !payable.some(({ address }) => vouchers.tokenFor(address)))
        throw noVoucherFor(able.map(({ address }) => address))
      watch.want(able)
      reputations.want(able)
      const { priceUsdcMax } = bounds
      const wish = { cid: cid.toString(), providers: payable, priceUsdcMax, host, vouchers }
      const upstream = createRoutedUpstream(
        { clock, log, random, routes, health, standingOf, admitProvider },
        wish,
      )
      const { servedBy, routeReason, attempts } = upstream
      return { upstream, host: undefined, servedBy, routeReason, attempts }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([watch[Symbol.asyncDispose](), reputations[Symbol.asyncDispose]()])
    },
  }
}

/** An account with several names is one provider. */
function onePerAccount(providers: readonly ProviderName[]): ProviderName[] {
  return [...new Map(providers.map((provider) => [provider.address, provider])).values()]
}

/** Where very many could serve a call, it is enough to look at some. */
function sample(providers: readonly ProviderName[], random: () => number): readonly ProviderName[] {
  if (providers.length <= limits.routeCandidatesMax) return providers
  const from = Math.floor(random() * providers.length)
  return [...providers.slice(from), ...providers.slice(0, from)].slice(0, limits.routeCandidatesMax)
}
