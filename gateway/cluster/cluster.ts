import { createHash, randomUUID } from 'node:crypto'
import type { Address } from 'viem'
import { getAddress, isAddress } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { type Lookup, lookupWithSystem } from '../../protocol/http/dial-checked.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { DenySettings } from '../limits/deny-list.ts'
import { openHopListener } from './hop-listener.ts'
import { createHopRule } from './hop-rule.ts'
import { createHops } from './hops.ts'
import { createMembers, memberSchema } from './members.ts'
import type { ClusterStore } from './nats-store.ts'
import { parseWord } from './parse-word.ts'
import { type ClusterWords, createSharedWords, isWordKind, wordKinds } from './shared-words.ts'

/** The other gateways of a cluster: who is there, who has whose tunnels, and the way to them. */
export interface Cluster extends AsyncDisposable {
  /** What reaches a provider whose tunnels are at other gateways, or undefined where no gateway has any. */
  upstreamFor(provider: Address): Upstream | undefined
  /** The tunnels of the gateways that providers of this one should dial, too. */
  otherGateways(): readonly string[]
  /** Tells the others what this gateway denies from now on. */
  tellDeny(deny: DenySettings): void
  /** Tells the others what a provider has said here. */
  tellAnnounced(provider: Address, text: string): void
  /** Whether the others can be heard at the moment. */
  isConnected(): boolean
  /** Where other gateways hand over requests. */
  readonly hopPort: number
}

export interface ClusterDeps {
  readonly clock: Clock
  readonly log: Log
  /** The cluster owns it. */
  readonly store: ClusterStore
  readonly lookup?: Lookup
  /** The tunnels of this very process. */
  readonly tunnels: {
    upstreamFor(provider: Address): Upstream | undefined
    connected(): readonly { readonly provider: Address }[]
  }
}

export interface ClusterOptions {
  /** Where other gateways hand over requests: an address of a network that callers are not in. */
  readonly hopHost: string
  readonly hopPort: number
  /** How the others reach it; made of the two above by default. */
  readonly hopUrl?: string
  /** Where the others may be; see `createHopRule` for what holds without any. */
  readonly hopNetworks?: readonly string[]
  /** Where providers dial this gateway. */
  readonly tunnel: string
  /** How many gateways each provider is to dial. */
  readonly homes: number
  /** The name of this gateway in `Via`. */
  readonly via: string
  /** Absent for a further process of a gateway: its first one speaks for all of them. */
  readonly words?: ClusterWords
}

/**
 * Joins a cluster; on disposal it says that it leaves. A member is one process: where a gateway has several, each has its
 * own tunnels and its own place for hops, so that a request takes one hop to the very process that has the tunnel.
 */
export async function joinCluster(deps: ClusterDeps, options: ClusterOptions): Promise<Cluster> {
  await using joining = new AsyncDisposableStack()
  const { clock, log, tunnels } = deps
  const store = joining.use(deps.store)
  const nodeId = randomUUID()
  const listener = joining.use(
    await openHopListener(
      { clock, log, secret: store.secret, localTunnel: tunnels.upstreamFor },
      { host: options.hopHost, port: options.hopPort, via: options.via },
    ),
  )
  const facts = JSON.stringify({ hopUrl: options.hopUrl ?? listener.url.href, tunnel: options.tunnel })
  const members = createMembers({ clock, log })
  const lookup = deps.lookup ?? lookupWithSystem
  const mayHop = createHopRule(options)
  const hops = joining.use(createHops({ clock, members, secret: store.secret, lookup, mayHop }))
  const words = options.words && createSharedWords({ log, store, nodeId }, options.words)
  /** What the others know of the tunnels here. */
  const told = new Set<Address>()
  const tellAgain = () => {
    told.clear()
    words?.sayAgain()
  }

  store.watch((key, value, facts) => {
    const [kind = '', first = '', second = ''] = key.split('.')
    if (first === nodeId || second === nodeId) {
      // Somebody took us for gone, and the others have forgotten all that we said.
      const isOver = kind === 'route' && !(isAddress(first) && told.has(getAddress(first)))
      if (value === undefined && !isOver) tellAgain()
      else if (value !== undefined) words?.hearOwn(kind, value)
    } else if (kind === 'node') {
      const member = value === undefined ? undefined : parseWord(memberSchema, value)
      if (member) members.hear(first, member, facts)
      else {
        members.forget(first)
        words?.forget(first)
      }
    } else if (kind === 'route' && isAddress(first)) {
      members.route(getAddress(first), second, value !== undefined)
    } else if (kind === 'alive' || value === undefined) words?.hear(kind, first, value, facts)
    else if (isWordKind(kind) && members.note(first)) words?.hear(kind, first, value, facts)
  })

  const tell = async (): Promise<void> => {
    if (!store.isConnected()) return
    const here = new Set(tunnels.connected().map(({ provider }) => provider))
    for (const provider of here) {
      if (told.has(provider)) continue
      await store.put(routeKey(provider, nodeId), '')
      told.add(provider)
    }
    for (const provider of told) {
      if (here.has(provider)) continue
      told.delete(provider)
      await store.delete(routeKey(provider, nodeId))
    }
    // Last, so that calls find their way whatever becomes of it.
    await words?.tellDeny()
  }
  let losses = 0
  let beatMs = clock.monotonicMs()
  const beat = async (): Promise<void> => {
    // Who was stopped for a while has heard nobody, and what they said meanwhile is still to be read.
    if (clock.monotonicMs() - beatMs > limits.clusterSilenceMsMax) members.pardon()
    beatMs = clock.monotonicMs()
    if (store.losses() > losses) {
      losses = store.losses()
      tellAgain()
    }
    if (!store.isConnected()) {
      members.pardon()
      return
    }
    await store.put(`node.${nodeId}`, facts)
    for (const gone of members.gone()) {
      words?.forget(gone)
      for (const provider of members.forget(gone)) await store.delete(routeKey(provider, gone))
      for (const kind of ['node', ...wordKinds]) await store.delete(`${kind}.${gone}`)
    }
  }
  /** What was taken away leaves a mark in the store. One of all members sees to it that these go, too. */
  const purge = async (): Promise<void> => {
    const isFirst = members.live().every((other) => nodeId < other.nodeId)
    if (isFirst && store.isConnected()) await store.purge(limits.clusterMarkAgeMs, isPassing)
  }
  const onError = (error: unknown) => log.warn('cluster_untold', { error: String(error) })
  joining.defer(async () => {
    if (!store.isConnected()) return
    const leaving = [...told].map((provider) => routeKey(provider, nodeId))
    told.clear()
    for (const key of leaving) await store.delete(key).catch(onError)
    await words?.takeBack().catch(onError)
    await store.delete(`node.${nodeId}`).catch(onError)
  })
  await beat()
  joining.use(repeat({ clock, onError }, limits.clusterHeartbeatMs, beat))
  joining.use(repeat({ clock, onError }, limits.clusterTellIntervalMs, tell))
  joining.use(repeat({ clock, onError }, limits.clusterPurgeIntervalMs, purge))
  if (words) joining.use(repeat({ clock, onError }, limits.clusterSpendIntervalMs, words.tellSpent))
  log.info('cluster_joined', { nodeId, hopPort: listener.port })
  const parts = joining.move()
  return {
    upstreamFor: hops.upstreamFor,
    hopPort: listener.port,
    isConnected: store.isConnected,
    tellDeny: (deny) => words?.setDeny(deny),
    tellAnnounced(provider, text) {
      if (store.isConnected()) store.put(`alive.${provider.toLowerCase()}`, text).catch(onError)
    },
    otherGateways() {
      const others = new Set(members.live().map(({ tunnel }) => tunnel))
      others.delete(options.tunnel)
      return pickHomes(nodeId, others, options.homes - 1)
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Words that count while they are new: what providers announced, what was taken of quotas. */
const isPassing = (key: string): boolean => key.startsWith('alive.') || key.startsWith('spent.')

const routeKey = (provider: Address, nodeId: string): string => `route.${provider.toLowerCase()}.${nodeId}`

/** Each gateway has partners of its own, the same ones for as long as they live, and all are chosen about as often. */
function pickHomes(nodeId: string, tunnels: Iterable<string>, count: number): string[] {
  const weight = (tunnel: string) => createHash('sha256').update(`${nodeId} ${tunnel}`).digest('hex')
  return [...tunnels]
    .map((tunnel) => ({ tunnel, weight: weight(tunnel) }))
    .sort((a, b) => (a.weight < b.weight ? -1 : 1))
    .slice(0, count)
    .map(({ tunnel }) => tunnel)
}
